//! The engine's thread of a relay: it publishes the lines of here, receives those of elsewhere, and
//! says who is here.

mod meeting;
mod receiving;

use core::cell::{Cell, RefCell};
use core::future::ready;
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use async_nats::jetstream::Context;
use async_nats::jetstream::message::PublishMessage;
use async_nats::{Client, ConnectOptions, Event};
use heapless::String as Text;
use jiff::SignedDuration;
use kilochat_core::LinkLines;
use tokio::select;
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};

use super::{ANSWER, context, runtime, within};
use crate::Error;
use crate::relay::link::inbox::Inbox;
use crate::relay::link::known::Known;
use crate::relay::link::outage::Outage;
use crate::relay::link::places::Places;
use crate::relay::link::start::Settings;
use crate::relay::link::wire::{self, Header};
use crate::relay::link::{Incoming, Notice, Report, SLOT, Shared};

/// Time after which something that failed is tried again: the first time, and at most.
const RETRY: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Time between two looks at what time changes.
const TICK: Duration = Duration::from_millis(250);

/// Minimum time between two log records, and between two notices, about the same trouble.
const REPORT: Duration = Duration::from_secs(60);

/// Time for which a message is not stored after which the engine counts as out of reach.
const STUCK: Duration = Duration::from_secs(1);

/// The connection to a server.
#[derive(Clone, Debug, Default)]
struct Connection {
    is_up: bool,
    /// Number of times that it was made.
    times: u64,
    /// What a server has last refused.
    refused: String,
}

/// The engine's side of the link.
struct Engine {
    settings: Settings,
    shared: Arc<Shared>,
    queue: SyncSender<Incoming>,
    connection: watch::Receiver<Connection>,
    inbox: RefCell<Inbox>,
    places: RefCell<Places>,
    /// When the stream was made, if it is known; then its messages up to `last` are received.
    made: Cell<Option<i128>>,
    last: Cell<u64>,
    /// How far this machine's clock is ahead of the servers'.
    ahead: Cell<SignedDuration>,
    /// The last message that there is, as far as others told, and number of the last line that was stored.
    head: Cell<u64>,
    stored: Cell<u64>,
    /// The last message that there was when the stream was opened.
    until: Cell<u64>,
    /// When the last message came, or a later one was told.
    heard: Cell<Instant>,
    /// Since when the stream is missing.
    missing: Cell<Option<Instant>>,
    /// Since when a message is published that is not stored yet.
    storing: Cell<Option<Instant>>,
    is_reading: Cell<bool>,
    /// Whether the stream is not the one that was read before.
    is_replaced: Cell<bool>,
    /// Held while something is passed to the relay's thread, so that the order is kept.
    passing: Mutex<()>,
    has_past: Cell<bool>,
    trouble: RefCell<String>,
    twin_told: Cell<Option<Instant>>,
}

/// Runs the thread until the relay ends.
///
/// # Errors
///
/// If the system has nothing left for it.
pub(in crate::relay::link) fn run(
    mut settings: Settings,
    options: ConnectOptions,
    shared: Arc<Shared>,
    queue: SyncSender<Incoming>,
) -> Result<(), Error> {
    // what the library logs is told by reports, of which a server that flaps cannot make many
    let none = tracing::subscriber::NoSubscriber::default();
    let _quiet = tracing::subscriber::set_default(none);
    let (sender, connection) = watch::channel(Connection::default());
    let counted = Arc::clone(&shared);
    let options = options
        .custom_inbox_prefix(format!("_INBOX_{}", settings.place))
        .reconnect_delay_callback(|attempts| {
            let doubled = 1 << attempts.min(6);
            (RETRY / 2 * doubled).min(RETRY_MAX)
        })
        .event_callback(move |event| {
            if let Event::Connected = event {
                counted
                    .counters
                    .reconnects
                    .add((sender.borrow().times > 0).into());
            }
            sender.send_modify(|connection| connection.take(&event));
            ready(())
        });
    let now = Instant::now();
    let known = Known::new(core::mem::take(&mut settings.kept));
    let engine = Engine {
        inbox: RefCell::new(Inbox::new(settings.place.clone(), settings.run, known)),
        places: RefCell::default(),
        settings,
        shared,
        queue,
        connection,
        made: Cell::new(None),
        last: Cell::new(0),
        ahead: Cell::new(SignedDuration::ZERO),
        head: Cell::new(0),
        stored: Cell::new(0),
        until: Cell::new(0),
        heard: Cell::new(now),
        missing: Cell::new(None),
        storing: Cell::new(None),
        is_reading: Cell::new(false),
        is_replaced: Cell::new(false),
        passing: Mutex::new(()),
        has_past: Cell::new(false),
        trouble: RefCell::default(),
        twin_told: Cell::new(None),
    };
    runtime()?.block_on(async {
        select! {
            () = engine.tell() => {}
            () = engine.work(options) => {}
        }
    });
    Ok(())
}

impl Connection {
    fn take(&mut self, event: &Event) {
        match event {
            Event::Connected => {
                self.is_up = true;
                self.times += 1;
                self.refused.clear();
            }
            Event::Disconnected | Event::Closed => self.is_up = false,
            Event::ServerError(error) => self.refused = error.to_string(),
            Event::ClientError(error) => self.refused = error.to_string(),
            Event::LameDuckMode | Event::Draining | Event::SlowConsumer(_) => {}
        }
    }
}

impl Engine {
    /// Does everything until the relay ends.
    async fn work(&self, options: ConnectOptions) {
        let client = select! {
            client = self.connect(options) => client,
            () = self.stopped() => return,
        };
        let context = context(&client, &self.settings.engine);
        select! {
            () = self.publish(&client, &context) => {}
            () = self.receive(&context) => {}
            () = self.meet(&client) => {}
        }
        self.appear(&client, 0).await;
        // the server may be gone
        let _ = timeout(ANSWER, client.flush()).await;
    }

    async fn connect(&self, options: ConnectOptions) -> Client {
        let mut wait = RETRY;
        loop {
            match super::connect(options.clone(), &self.settings.urls).await {
                Ok(client) => return client,
                Err(error) => self.trouble.replace(error.to_string()),
            };
            sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    /// Waits until the relay ends, before there is anything to publish to.
    async fn stopped(&self) {
        while !self.is_stopping() {
            self.shared.filled.notified().await;
        }
    }

    fn is_stopping(&self) -> bool {
        self.shared.is_stopping.load(Ordering::Acquire)
    }

    /// Publishes the lines of here, until the relay ends and none is left.
    async fn publish(&self, client: &Client, context: &Context) {
        let mut bytes = vec![0; SLOT].into_boxed_slice();
        loop {
            let taken = {
                let mut slot = Shared::lock(&self.shared.slot);
                let batch = slot.batch.take();
                if batch.is_some() {
                    core::mem::swap(&mut slot.bytes, &mut bytes);
                }
                batch.map(|batch| (batch, slot.has_more, slot.now, slot.at))
            };
            let Some((batch, has_more, now, at)) = taken else {
                if self.is_stopping() {
                    return;
                }
                self.shared.filled.notified().await;
                continue;
            };
            if has_more {
                // it may fill the slot again
                self.shared.relay.wake();
            }
            let mut lines = LinkLines::new(bytes.get(..batch.length).unwrap_or_default());
            let (mut first, mut lost) = (batch.first, batch.lost);
            loop {
                let room = (client.max_payload() / 2).min(wire::BODY_MAX);
                let (body, count) = wire::write_lines(&mut lines, room, now.after(at.elapsed()));
                if count == 0 {
                    break;
                }
                let header = Header {
                    run: self.settings.run,
                    first,
                    lines: count,
                    lost: core::mem::take(&mut lost),
                };
                self.store(context, &header, body).await;
                first += u64::from(count);
            }
        }
    }

    /// Publishes a message until the engine has it. The same id makes sure that it is stored once.
    async fn store(&self, context: &Context, header: &Header, body: Vec<u8>) {
        let Settings { engine, place, .. } = &self.settings;
        let room = &engine.room;
        let subject = wire::line_subject(room, place.as_str());
        let message = PublishMessage::build()
            .payload(body.into())
            .message_id(header.id(place))
            .header(wire::HEADER, header.write());
        let counters = &self.shared.counters;
        self.storing.set(Some(Instant::now()));
        let mut wait = RETRY;
        loop {
            let mut connection = self.connection.clone();
            let times = up(&mut connection).await;
            let attempt = async {
                let sent = context.send_publish(subject.clone(), message.clone());
                sent.await?.await
            };
            let outcome = select! {
                outcome = within(ANSWER, attempt) => outcome,
                () = again(&mut connection, times) => Err("the connection broke".into()),
            };
            match outcome {
                Ok(stored) => {
                    counters.messages_out.add(1);
                    counters.lines_out.add(header.lines.into());
                    counters.told_duplicate.add(stored.duplicate.into());
                    self.stored.set(header.first + u64::from(header.lines) - 1);
                    self.note_head(stored.sequence);
                    self.storing.set(None);
                    return;
                }
                Err(reason) => {
                    let refused = connection.borrow().refused.clone();
                    self.trouble
                        .replace(format!("cannot publish to {room}: {reason} {refused}"));
                }
            }
            counters.retries.add(1);
            sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    /// Takes that a message is in the stream.
    fn note_head(&self, head: u64) {
        if head > self.head.get() {
            self.head.set(head);
            self.heard.set(Instant::now());
        }
    }

    /// Tells people and the log whether the other places are within reach, and what was left out.
    async fn tell(&self) {
        let mut outage = Outage::new(Instant::now());
        let mut reported: Option<Instant> = None;
        let mut is_known = false;
        loop {
            sleep(TICK).await;
            let now = Instant::now();
            let storing = self.storing.get();
            let is_stuck = storing.is_some_and(|since| now > since + STUCK);
            let is_up = self.connection.borrow().is_up && self.is_reading.get() && !is_stuck;
            self.shared.counters.is_up.store(is_up, Ordering::Relaxed);
            let notice = outage.take(now, is_up);
            if is_up && !is_known || notice == Some(Notice::Up) {
                (is_known, reported) = (true, None);
                self.inbox.borrow_mut().add(Incoming::Report(Report::Up));
            }
            if outage.is_long(now) && reported.is_none_or(|last| now >= last + REPORT) {
                reported = Some(now);
                let report = Report::Trouble(self.trouble());
                self.inbox.borrow_mut().add(Incoming::Report(report));
            }
            self.note(notice);
            self.inbox.borrow_mut().tell_left_out(now);
            self.flush().await;
        }
    }

    /// Returns what is wrong.
    fn trouble(&self) -> Text<240> {
        let mut trouble = self.trouble.borrow().clone();
        let connection = self.connection.borrow();
        if connection.times > 0 && !connection.is_up {
            trouble = format!("the connection is lost: {}", connection.refused);
        }
        let mut text = Text::new();
        for character in kilochat_core::clean(trouble.trim()) {
            // what does not fit is left out
            if text.push(character).is_err() {
                break;
            }
        }
        text
    }
}

/// Waits for a connection. Returns how often there was one.
async fn up(connection: &mut watch::Receiver<Connection>) -> u64 {
    match connection.wait_for(|connection| connection.is_up).await {
        Ok(connection) => connection.times,
        // the library has ended, which it does not
        Err(_) => core::future::pending().await,
    }
}

/// Waits until the connection was made again since there were so many.
async fn again(connection: &mut watch::Receiver<Connection>, times: u64) {
    if connection
        .wait_for(|connection| connection.times > times)
        .await
        .is_err()
    {
        core::future::pending().await
    }
}
