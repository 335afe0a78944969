//! The engine, NATS with JetStream. This file and its folder are the only ones that name its client,
//! `async_nats`.

pub(super) mod running;

use core::fmt::Display;
use core::future::Future;
use core::time::Duration;
use std::fs;
use std::io;
use std::path::Path;

use async_nats::datetime::{DateTime, from_nanos};
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::{Context, ErrorCode};
use async_nats::{Client, ConnectOptions};
use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::wire;
use crate::Error;
use crate::args::{EngineOptions, EngineUrl};

/// Maximum time for an answer of a server.
const ANSWER: Duration = Duration::from_secs(2);

/// Maximum time to connect to a server.
const CONNECT: Duration = Duration::from_secs(5);

/// Time between two signs of life of a server that has nothing to send.
const HEARTBEAT: Duration = Duration::from_secs(3);

/// Time after which a server forgets a consumer that nobody reads.
const FORGET: Duration = Duration::from_secs(30);

/// What a server may send before it is asked for more.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    messages: usize,
    bytes: usize,
}

/// To a relay, in which memory is scarce.
const AHEAD: Ahead = Ahead {
    messages: 64,
    bytes: 512 << 10,
};

/// To a reader of the whole stream: with less a server that has short messages waits for its next request.
const AHEAD_OF_READER: Ahead = Ahead {
    messages: 1024,
    bytes: 4 << 20,
};

/// Maximum age of a message in a stream that a relay makes.
pub(super) const STREAM_AGE: Duration = Duration::from_secs(30 * 86_400);

/// A message of a stream.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) subject: &'a str,
    pub(crate) header: Option<&'a str>,
    pub(crate) body: &'a [u8],
    /// When the server received it.
    pub(crate) time: Timestamp,
}

/// What a reader of a stream does after a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Reads the next one.
    GoOn,
    /// Ends.
    End,
}

/// Calls `each` with the messages of a room's stream since a time, and with `None` after the last one
/// that there was at the start; then with the new ones, until it is told to end.
///
/// # Errors
///
/// If the stream cannot be read.
pub(crate) fn read(
    urls: &[EngineUrl],
    engine: &EngineOptions,
    since: Option<Timestamp>,
    mut each: impl FnMut(Option<Message<'_>>) -> Then,
) -> Result<(), Error> {
    let options = options(urls, engine)?;
    runtime()?.block_on(async {
        let client = connect(options, urls).await?;
        let context = context(&client, engine);
        let room = &engine.room;
        let stream = context.get_stream(wire::stream(room)).await;
        let stream = stream.map_err(|error| {
            if is_missing(&error) {
                Error::Failure(format!(
                    "there is no room {room}; relay --link makes it, and --room names another"
                ))
            } else {
                failed(format_args!("cannot find the room {room}"), &error)
            }
        })?;
        let from = match since.map(date) {
            None => DeliverPolicy::All,
            Some(date) => DeliverPolicy::ByStartTime { start_time: date? },
        };
        let consumer = stream.create_consumer(consumer(from)).await;
        let consumer = consumer
            .map_err(|error| failed(format_args!("cannot read the room {room}"), &error))?;
        follow(&consumer, &mut each).await
    })
}

/// Returns whether the servers know that there is no such stream.
fn is_missing(error: &GetStreamError) -> bool {
    matches!(
        error.kind(),
        GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND
    )
}

/// Reads from a consumer until `each` ends it.
async fn follow(
    consumer: &Consumer<pull::Config>,
    each: &mut impl FnMut(Option<Message<'_>>) -> Then,
) -> Result<(), Error> {
    let broken = |error: &dyn Display| failed("cannot read on", error);
    let mut has_ended = consumer.cached_info().num_pending == 0;
    if has_ended && each(None) == Then::End {
        return Ok(());
    }
    let messages = messages(consumer, AHEAD_OF_READER).await;
    let mut messages = messages.map_err(|error| broken(&error))?;
    while let Some(message) = messages.next().await {
        let message = message.map_err(|error| broken(&error))?;
        let info = message.info().map_err(|error| broken(&error))?;
        let read = Message {
            subject: &message.subject,
            header: header(&message),
            body: &message.payload,
            time: time(info.published),
        };
        let mut then = each(Some(read));
        if info.pending == 0 && !has_ended && then == Then::GoOn {
            has_ended = true;
            then = each(None);
        }
        if then == Then::End {
            return Ok(());
        }
    }
    Err(Error::Failure("the server ended the stream".into()))
}

fn header(message: &async_nats::Message) -> Option<&str> {
    let headers = message.headers.as_ref()?;
    headers.get(wire::HEADER).map(|value| value.as_str())
}

/// Returns the runtime of a thread.
fn runtime() -> Result<Runtime, Error> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| failed("cannot start the link", &error))
}

/// Returns the options of a connection, with the secrets that the command line names.
pub(super) fn options(urls: &[EngineUrl], engine: &EngineOptions) -> Result<ConnectOptions, Error> {
    let mut options = ConnectOptions::new()
        .name("kilochat")
        .connection_timeout(ANSWER)
        .ping_interval(ANSWER)
        .require_tls(urls.iter().any(|url| url.as_str().starts_with("tls://")));
    for file in [&engine.link_ca, &engine.link_cert, &engine.link_key] {
        file.as_deref().map(secret).transpose()?;
    }
    if let Some(file) = &engine.link_ca {
        options = options.add_root_certificates(file.clone());
    }
    if let (Some(certificate), Some(key)) = (&engine.link_cert, &engine.link_key) {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    if let Some(file) = &engine.link_creds {
        let no_credentials = |error: io::Error| {
            Error::Usage(format!("{} holds no credentials: {error}", file.display()))
        };
        options = options
            .credentials(&secret(file)?)
            .map_err(no_credentials)?;
    }
    if let Some(file) = &engine.link_nkey {
        options = options.nkey(secret(file)?.trim().into());
    }
    if let Some(file) = &engine.link_token_file {
        let token = secret(file)?;
        options = match token.trim().split_once(':') {
            Some((user, password)) => options.user_and_password(user.into(), password.into()),
            None => options.token(token.trim().into()),
        };
    }
    Ok(options)
}

/// Reads a small file that the command line names.
fn secret(file: &Path) -> Result<String, Error> {
    fs::read_to_string(file)
        .map_err(|error| Error::Usage(format!("cannot read {}: {error}", file.display())))
}

async fn connect(options: ConnectOptions, urls: &[EngineUrl]) -> Result<Client, Error> {
    let addresses: Vec<&str> = urls.iter().map(EngineUrl::as_str).collect();
    let connected = within(CONNECT, options.connect(addresses.clone())).await;
    connected.map_err(|reason| {
        Error::Failure(format!("cannot reach {}: {reason}", addresses.join(", ")))
    })
}

fn context(client: &Client, engine: &EngineOptions) -> Context {
    let mut context = match &engine.link_domain {
        Some(domain) => async_nats::jetstream::with_domain(client.clone(), domain),
        None => async_nats::jetstream::new(client.clone()),
    };
    context.set_timeout(ANSWER);
    context
}

/// Returns the configuration of a consumer. It is not the library's ordered one, because that mends
/// itself only after two missing heartbeats, and never if the stream was made again.
fn consumer(from: DeliverPolicy) -> pull::Config {
    pull::Config {
        deliver_policy: from,
        ack_policy: AckPolicy::None,
        max_deliver: 1,
        inactive_threshold: FORGET,
        num_replicas: 1,
        memory_storage: true,
        ..pull::Config::default()
    }
}

async fn messages(
    consumer: &Consumer<pull::Config>,
    ahead: Ahead,
) -> Result<pull::Stream, async_nats::jetstream::consumer::StreamError> {
    let stream = consumer.stream().heartbeat(HEARTBEAT);
    stream
        .max_messages_per_batch(ahead.messages)
        .max_bytes_per_batch(ahead.bytes)
        .messages()
        .await
}

/// Returns the result of a future, or why there is none in time.
async fn within<Value, Failure: Display>(
    time: Duration,
    future: impl Future<Output = Result<Value, Failure>>,
) -> Result<Value, String> {
    match timeout(time, future).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer in {} s", time.as_secs())),
    }
}

/// Returns the time of a message.
fn time(date: DateTime) -> Timestamp {
    Timestamp::from_nanosecond(date.unix_timestamp_nanos()).unwrap_or_default()
}

fn date(time: Timestamp) -> Result<DateTime, Error> {
    from_nanos(time.as_nanosecond()).map_err(|error| failed("that time is out of range", &error))
}

fn failed(what: impl Display, error: &dyn Display) -> Error {
    Error::Failure(format!("{what}: {error}"))
}
