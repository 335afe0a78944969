//! What comes from the other places: opening the stream, reading it, and passing it on.

use core::fmt::Display;
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::sync::mpsc::TrySendError;
use std::time::Instant;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::stream::{self, Stream};
use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::select;
use tokio::time::{sleep, timeout};

use super::super::{
    AHEAD, ANSWER, Message, STREAM_AGE, consumer, header, is_missing, messages, time, within,
};
use super::{Engine, RETRY, RETRY_MAX, TICK, again, up};
use crate::relay::link::{Incoming, Notice, wire};

/// Time for which a stream must be missing before it is made again: a cluster that starts may not know it
/// yet.
const MISSING: Duration = Duration::from_secs(5);

/// Number of messages from before the start that are read.
const PAST: u64 = 64;

/// Time without a message, while others have seen later ones, after which the stream is opened again: at
/// first, and at most.
const SILENCE: Duration = Duration::from_secs(2);
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Limits of a room's stream that is made.
const STREAM_BYTES: i64 = 1 << 30;
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

impl Engine {
    /// Receives the lines of elsewhere.
    pub(super) async fn receive(&self, context: &Context) {
        let mut connection = self.connection.clone();
        let mut wait = RETRY;
        let mut patience = SILENCE;
        loop {
            let times = up(&mut connection).await;
            match self.open(context).await {
                Ok(messages) => {
                    self.is_reading.set(true);
                    self.missing.set(None);
                    let begun = self.last.get();
                    let read = self.read(messages, patience);
                    let reason = select! {
                        reason = read => reason,
                        () = again(&mut connection, times) => "the connection broke".into(),
                    };
                    if self.last.get() > begun {
                        (wait, patience) = (RETRY, SILENCE);
                    } else {
                        patience = (patience * 2).min(SILENCE_MAX);
                    }
                    self.trouble.replace(reason);
                    self.is_reading.set(false);
                }
                Err(reason) => {
                    let refused = connection.borrow().refused.clone();
                    self.trouble.replace(format!("{reason} {refused}"));
                }
            }
            sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    /// Opens the stream after the last message that was received. If it is another stream, which was made or
    /// restored in its place, from its start: what is known is dropped by its numbers.
    async fn open(&self, context: &Context) -> Result<pull::Stream, String> {
        let name = wire::stream(&self.settings.engine.room);
        let stream = self.stream(context, &name).await?;
        let info = stream.cached_info();
        let made = info.created.unix_timestamp_nanos();
        let end = info.state.last_sequence;
        let is_first = self.made.get().is_none();
        if is_first {
            self.last.set(end.saturating_sub(PAST));
            let history = self.settings.history;
            self.inbox.borrow_mut().hold_past(history);
        } else {
            if self.made.get() != Some(made) || end < self.last.get() {
                self.last.set(0);
                self.is_replaced.set(true);
            }
            if end > self.last.get() {
                self.inbox.borrow_mut().hold_outage();
            }
        }
        self.made.set(Some(made));
        self.head.set(end);
        self.until.set(end);
        // or the next line of here would look as if it had been stored and not received
        self.stored.set(0);
        self.heard.set(Instant::now());
        let from = DeliverPolicy::ByStartSequence {
            start_sequence: self.last.get() + 1,
        };
        let unreadable = |error: &dyn Display| {
            format!("cannot read {name}: {error}; ask the servers' owner for consumers on it")
        };
        let consumer = within(ANSWER, stream.create_consumer(consumer(from)))
            .await
            .map_err(|error| unreadable(&error))?;
        // made just now, by a server's clock
        let made = time(consumer.cached_info().created);
        self.ahead.set(Timestamp::now().duration_since(made));
        let messages = messages(&consumer, AHEAD).await;
        let messages = messages.map_err(|error| unreadable(&error))?;
        if consumer.cached_info().num_pending == 0 {
            self.release().await;
        }
        Ok(messages)
    }

    /// Returns the room's stream. It is made if it is missing, and never altered.
    async fn stream(&self, context: &Context, name: &str) -> Result<Stream, String> {
        let advice = |error: &dyn Display| {
            format!("cannot find {name}: {error}; do the servers have JetStream (nats-server -js)?")
        };
        let found = timeout(ANSWER, context.get_stream(name)).await;
        let found = found.map_err(|_| advice(&"no answer"))?;
        let error = match found {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        if !is_missing(&error) {
            return Err(advice(&error));
        }
        let now = Instant::now();
        let since = self.missing.get().unwrap_or(now);
        self.missing.set(Some(since));
        if self.made.get().is_some() && now < since + MISSING {
            return Err(format!("{name} is missing"));
        }
        let config = stream::Config {
            name: name.into(),
            subjects: vec![wire::line_subject(&self.settings.engine.room, "*")],
            max_bytes: STREAM_BYTES,
            max_age: STREAM_AGE,
            duplicate_window: DUPLICATE_WINDOW,
            num_replicas: self.settings.replicas,
            allow_direct: true,
            ..stream::Config::default()
        };
        let unmade = |error: String| {
            format!("cannot make {name}: {error}; ask the servers' owner to make it")
        };
        within(ANSWER * 2, context.create_stream(config))
            .await
            .map_err(unmade)
    }

    /// Receives messages until it must begin again. Returns why.
    async fn read(&self, mut messages: pull::Stream, patience: Duration) -> String {
        'messages: for expected in 1.. {
            let message = loop {
                match timeout(TICK, messages.next()).await {
                    Ok(Some(Ok(message))) => break message,
                    Ok(Some(Err(error))) => return format!("cannot read on: {error}"),
                    Ok(None) => break 'messages,
                    Err(_) if self.is_behind(patience) => {
                        return "later messages do not come".into();
                    }
                    Err(_) => {}
                }
            };
            // a message that got lost on the connection is read again
            let Some(info) = message
                .info()
                .ok()
                .filter(|info| info.consumer_sequence == expected)
            else {
                return "a message was passed over".into();
            };
            let published = time(info.published);
            let read = Message {
                subject: &message.subject,
                header: header(&message),
                body: &message.payload,
                // by this machine's clock, by which lines are kept and compared
                time: published.checked_add(self.ahead.get()).unwrap_or(published),
            };
            let now = Instant::now();
            let counters = &self.shared.counters;
            self.inbox.borrow_mut().take(now, &read, counters);
            self.last.set(info.stream_sequence);
            self.heard.set(now);
            if info.pending == 0 || info.stream_sequence >= self.until.get() {
                self.release().await;
            }
            self.flush().await;
        }
        "the server ended the stream".into()
    }

    /// Returns whether there are later messages, which do not come.
    fn is_behind(&self, patience: Duration) -> bool {
        let is_behind =
            self.head.get() > self.last.get() || self.stored.get() > self.inbox.borrow().own();
        is_behind && self.heard.get().elapsed() > patience
    }

    /// Passes on the old lines, of which the last one has come.
    async fn release(&self) {
        let is_past = !self.has_past.replace(true);
        // who is in the room already takes old lines for new ones
        let is_late = self.shared.is_open.load(Ordering::Acquire);
        let is_replaced = self.is_replaced.replace(false);
        let is_told = is_past && is_late || !is_past && is_replaced;
        let started = is_told.then_some(self.settings.started);
        self.inbox
            .borrow_mut()
            .release(started, &self.shared.counters);
        if is_past {
            self.inbox.borrow_mut().add(Incoming::Ready);
        }
        self.flush().await;
    }

    /// Tells people something, after what is in the inbox.
    pub(super) fn note(&self, notice: Option<Notice>) {
        if let Some(notice) = notice {
            self.inbox.borrow_mut().add(Incoming::Notice(notice));
        }
    }

    /// Passes on what the inbox has, and waits while the queue is full. What is not in the queue stays in
    /// the inbox, because this future may be dropped.
    pub(super) async fn flush(&self) {
        let _turn = self.passing.lock().await;
        let mut has_any = false;
        loop {
            let next = self.inbox.borrow_mut().next();
            let Some(incoming) = next else {
                break;
            };
            has_any = true;
            if let Err(TrySendError::Full(incoming)) = self.queue.try_send(incoming) {
                self.inbox.borrow_mut().put_back(incoming);
                self.shared.relay.wake();
                // the word that there is room may be an old one
                let _ = timeout(TICK, self.shared.room.notified()).await;
            }
        }
        if has_any {
            self.shared.relay.wake();
        }
    }
}
