//! Who is at which place.

use core::sync::atomic::Ordering;
use core::time::Duration;
use std::time::Instant;

use async_nats::{Client, Subscriber};
use futures_util::StreamExt;
use tokio::select;
use tokio::time::{sleep, timeout};

use super::super::ANSWER;
use super::{Engine, REPORT, RETRY_MAX, TICK, again};
use crate::relay::link::start::Settings;
use crate::relay::link::wire::{self, Presence};
use crate::relay::link::{Here, Notice, Shared};

/// Minimum time between two presences.
const MOVED: Duration = Duration::from_secs(1);

impl Engine {
    /// Says who is here, and listens to the other places.
    pub(super) async fn meet(&self, client: &Client) {
        let all = wire::here_subject(&self.settings.engine.room, "*");
        let mut here = loop {
            match client.subscribe(all.clone()).await {
                Ok(here) => break here,
                Err(_) => sleep(RETRY_MAX).await,
            }
        };
        let mut connection = self.connection.clone();
        loop {
            let times = connection.borrow().times;
            let every = self.places.borrow().every();
            self.appear(client, every).await;
            let appeared = Instant::now();
            select! {
                () = self.listen(&mut here) => {}
                () = sleep(Duration::from_secs(every)) => {}
                () = again(&mut connection, times) => {}
                () = self.shared.moved.notified() => {
                    let left = MOVED.saturating_sub(appeared.elapsed());
                    let _ = timeout(left, self.listen(&mut here)).await;
                }
            }
        }
    }

    /// Takes the presences of the other places.
    async fn listen(&self, here: &mut Subscriber) {
        loop {
            let heard = timeout(TICK, here.next()).await;
            let now = Instant::now();
            let told = match &heard {
                Ok(Some(message)) => self.hear(now, &message.subject, &message.payload),
                // the connection has ended for good, which it does not
                Ok(None) => return sleep(RETRY_MAX).await,
                Err(_) => None,
            };
            self.note(told);
            // while this place is cut off, the others have not gone
            while self.connection.borrow().is_up
                && let expired = self.places.borrow_mut().expire(now)
                && let Some(told) = expired
            {
                self.note(Some(told));
            }
            self.flush().await;
            let changed = self.places.borrow_mut().changed();
            if let Some(elsewhere) = changed {
                *Shared::lock(&self.shared.elsewhere) = elsewhere;
                self.shared.has_places.store(true, Ordering::Release);
                self.shared.relay.wake();
            }
        }
    }

    /// Takes a presence. Returns what people are told.
    fn hear(&self, now: Instant, subject: &str, body: &[u8]) -> Option<Notice> {
        let Some((place, presence)) = wire::place(subject).zip(Presence::read(body)) else {
            self.shared.counters.malformed.add(1);
            return None;
        };
        if place != self.settings.place {
            self.note_head(presence.head);
            let mut places = self.places.borrow_mut();
            if places.welcomes(&place) {
                self.shared.moved.notify_one();
            }
            return places.take(now, place, presence);
        }
        if presence.run == self.settings.run {
            return None;
        }
        self.inbox.borrow_mut().set_twin(presence.run);
        let is_told = self.twin_told.get().is_some_and(|told| now < told + REPORT);
        if is_told || presence.every == 0 {
            return None;
        }
        self.twin_told.set(Some(now));
        Some(Notice::Twin { place })
    }

    /// Says who is here; the next time in `every` seconds, or never again if that is 0.
    pub(super) async fn appear(&self, client: &Client, every: u64) {
        if !self.connection.borrow().is_up {
            return;
        }
        let presence = {
            let Here { people, names } = &*Shared::lock(&self.shared.here);
            Presence {
                run: self.settings.run,
                people: *people,
                names: names.lines().map(Into::into).collect(),
                head: self.last.get(),
                every,
            }
        };
        let Settings { engine, place, .. } = &self.settings;
        let subject = wire::here_subject(&engine.room, place.as_str());
        // the next one will get there
        let _ = timeout(ANSWER, client.publish(subject, presence.write().into())).await;
    }
}
