//! Posting of texts: at most one POST is in flight, other texts wait.

use core::time::Duration;

use super::waiting::Waiting;
use super::{Dropped, PostError, PostId};
use crate::Instant;
use crate::wire::framed::{
    Frame, Outcome, Post, Posted, Reason, Session, TEXT_MAX, TEXTS_MAX, Texts,
};
use crate::wire::order;
use crate::wire::{Command, RoundTrip, clean, is_blank};

/// Time after which an unanswered POST ends the connection.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bounds of the time-out of a POST, in milliseconds.
const RTO_MIN_MS: u16 = 50;
const RTO_MAX_MS: u16 = 3000;

/// Up to this time-out in milliseconds it may back off, or up to [`BACKED_OFF`] times the first one if
/// that is more. As long as a POST is unanswered, the client asks for a reply each second anyway.
const BACKED_OFF_MS: u16 = 1000;
const BACKED_OFF: u16 = 3;

/// Minimum time until a POST that was refused for the moment is sent again.
const RETRY_MIN: Duration = Duration::from_millis(50);

/// Maximum number of texts in a POST: as many as a POSTED can accept.
const MOST: u8 = u8::MAX;

#[derive(Clone, Debug)]
pub(super) struct Posting<const OUT: usize> {
    waiting: Waiting<OUT>,
    /// The id of the next text.
    id: u32,
    /// The number of the session's last POST.
    number: u16,
    flight: Flight,
    /// Earliest time of the next POST; `None` if it may be sent at once.
    hold: Option<Instant>,
    /// Whether texts wait because of the relay's rate limit.
    is_slowed: bool,
    /// The key by which orders are signed.
    pub(super) operator: Option<[u8; 16]>,
    pub(super) round_trip: RoundTrip,
}

/// The state of the oldest waiting texts.
#[derive(Clone, Debug)]
enum Flight {
    None,
    /// They are in flight in a POST.
    Sent {
        texts: u8,
        since: Instant,
        due: Instant,
        tries: u8,
        /// Whether the session was resumed because it was not answered.
        is_overdue: bool,
    },
    /// The POST was answered; `texts` results are still to be polled.
    Done {
        outcome: Told,
        texts: u8,
    },
}

/// The result of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Said { first: u64, lines: u8 },
    Answered,
    Refused(Reason),
    Doubtful,
}

impl<const OUT: usize> Posting<OUT> {
    pub(super) fn new() -> Self {
        Self {
            waiting: Waiting::new(),
            id: 0,
            number: 0,
            flight: Flight::None,
            hold: None,
            is_slowed: false,
            operator: None,
            round_trip: RoundTrip::default(),
        }
    }

    /// Returns an id for a text that is not queued.
    pub(super) const fn next_id(&mut self) -> PostId {
        let id = PostId(self.id);
        self.id = self.id.wrapping_add(1);
        id
    }

    pub(super) fn push(&mut self, text: &str) -> Result<PostId, PostError> {
        if is_blank(text) {
            return Err(PostError::Blank);
        }
        let length = clean(text).map(char::len_utf8).sum::<usize>();
        let length = u16::try_from(length)
            .ok()
            .filter(|&length| usize::from(length) <= TEXT_MAX)
            .ok_or(PostError::TooLong)?;
        if !self.waiting.push(PostId(self.id), text, length) {
            return Err(PostError::Full);
        }
        Ok(self.next_id())
    }

    /// Returns whether texts wait because of the relay's rate limit.
    pub(super) const fn is_slowed(&self) -> bool {
        self.is_slowed && self.waiting.count() > 0
    }

    pub(super) const fn count(&self) -> usize {
        self.waiting.count()
    }

    /// Returns when [`poll`](Self::poll) has a POST to send.
    pub(super) fn timeout(&self) -> Option<Instant> {
        match self.flight {
            Flight::Sent { due, .. } => Some(due),
            Flight::None if self.waiting.count() > 0 => Some(self.hold.unwrap_or_default()),
            Flight::None | Flight::Done { .. } => None,
        }
    }

    /// Returns when an unanswered POST in flight ends the connection.
    pub(super) fn patience(&self) -> Option<Instant> {
        match self.flight {
            Flight::Sent { since, .. } => Some(since.after(PATIENCE)),
            Flight::None | Flight::Done { .. } => None,
        }
    }

    pub(super) const fn is_in_flight(&self) -> bool {
        matches!(self.flight, Flight::Sent { .. })
    }

    /// Records that the POST in flight was not answered in time. Returns whether this is the second
    /// time.
    pub(super) const fn give_up(&mut self) -> bool {
        match &mut self.flight {
            Flight::Sent { is_overdue, .. } => core::mem::replace(is_overdue, true),
            Flight::None | Flight::Done { .. } => false,
        }
    }

    /// Writes a POST that is due. Returns its length, and whether it is a retransmission.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        session: Session,
        buffer: &mut [u8],
    ) -> Option<(usize, bool)> {
        if self.timeout().is_none_or(|due| now < due) {
            return None;
        }
        let (most, since, tries, is_overdue) = match self.flight {
            Flight::Sent {
                texts,
                since,
                tries,
                is_overdue,
                ..
            } => (texts, since, tries.saturating_add(1), is_overdue),
            Flight::None | Flight::Done { .. } => (MOST, now, 0, false),
        };
        if tries == 0 {
            self.number = self.number.wrapping_add(1);
        }
        let mut room = [0; TEXTS_MAX];
        let signed = self.signed(session);
        let (texts, count) = match &signed {
            Some(order) => Texts::collect([order.as_str()], &mut room),
            None => Texts::collect(self.batch().take(most.into()), &mut room),
        };
        self.flight = Flight::Sent {
            texts: u8::try_from(count).unwrap_or(MOST),
            since,
            due: now.after(self.rto(tries)),
            tries,
            is_overdue,
        };
        let post = Post {
            session,
            number: self.number,
            sent_at: now.as_wrapped(),
            texts,
        };
        let length = Frame::Post(post).encode(buffer)?;
        Some((length, tries > 0))
    }

    /// Returns the next text with its signature, if it is an order and there is a key.
    fn signed(&self, session: Session) -> Option<heapless::String<TEXT_MAX>> {
        order::sign(&self.operator?, session, self.number, self.first()?)
    }

    /// Returns the time-out of an attempt; the number of the first one is 0.
    pub(super) fn rto(&self, tries: u8) -> Duration {
        let once_ms = self.round_trip.rto_ms().clamp(RTO_MIN_MS, RTO_MAX_MS);
        let most_ms = (once_ms * BACKED_OFF).clamp(BACKED_OFF_MS, RTO_MAX_MS);
        // the shortest time-out is the longest one after eight steps
        let timeout_ms = (0..tries.min(8)).fold(once_ms, |ms, _| (ms + ms / 2).min(most_ms));
        Duration::from_millis(timeout_ms.into())
    }

    /// Returns the texts of the next POST: a command alone, or the messages before the first
    /// command.
    fn batch(&self) -> impl Iterator<Item = &str> {
        let is_alone = self.first().is_some_and(is_command);
        let texts = self.waiting.texts().map(|(_, text)| text);
        texts
            .enumerate()
            .take_while(move |&(index, text)| index == 0 || !is_alone && !is_command(text))
            .map(|(_, text)| text)
    }

    /// Returns the oldest text.
    pub(super) fn first(&self) -> Option<&str> {
        self.waiting.texts().next().map(|(_, text)| text)
    }

    /// Handles a POSTED. The caller stores the reply to a command.
    pub(super) fn handle(&mut self, now: Instant, posted: &Posted<'_>) -> Result<(), Dropped> {
        let Flight::Sent { texts, since, .. } = self.flight else {
            return Err(Dropped::Duplicate);
        };
        if posted.number != self.number {
            return Err(Dropped::Duplicate);
        }
        let sample_ms = now.as_wrapped().wrapping_sub(posted.sent_at);
        if Duration::from_millis(sample_ms.into()) <= now.since(since) {
            self.round_trip.sample(sample_ms);
        }
        self.hold = None;
        let (outcome, texts) = match posted.outcome {
            Outcome::Accepted {
                first,
                lines,
                texts: accepted,
            } => (Told::Said { first, lines }, accepted.min(texts)),
            Outcome::Answer(_) => (Told::Answered, 1),
            Outcome::Refused {
                reason,
                retry_ms: 0,
            } => (Told::Refused(reason), 1),
            Outcome::Refused { reason, retry_ms } => {
                self.is_slowed = reason == Reason::TooFast;
                let retry = Duration::from_millis(retry_ms.into());
                self.hold = Some(now.after(retry.max(RETRY_MIN)));
                self.flight = Flight::None;
                return Ok(());
            }
        };
        self.flight = Flight::Done { outcome, texts };
        if texts == 0 {
            self.hold = Some(now.after(self.rto(0)));
            self.flight = Flight::None;
        }
        Ok(())
    }

    /// Makes the POST in flight due again, because the session was resumed.
    pub(super) const fn resume(&mut self, now: Instant) {
        if let Flight::Sent { since, due, .. } = &mut self.flight {
            *since = now;
            *due = now;
        }
    }

    /// Handles the end of the session: the result of the POST in flight is unknown.
    pub(super) fn end(&mut self) {
        self.number = 0;
        self.hold = None;
        self.is_slowed = false;
        if let Flight::Sent { texts, .. } = self.flight {
            self.flight = Flight::Done {
                outcome: Told::Doubtful,
                texts,
            };
        }
    }

    /// Returns whether the reply to a command is still to be polled.
    pub(super) fn has_answer(&self) -> bool {
        let outcome = Told::Answered;
        matches!(self.flight, Flight::Done { outcome: told, .. } if told == outcome)
    }

    /// Returns the result of the next text.
    pub(super) fn poll_told(&mut self) -> Option<(PostId, Told)> {
        let Flight::Done { outcome, texts } = &mut self.flight else {
            return None;
        };
        let mut told = *outcome;
        *texts = texts.saturating_sub(1);
        let is_last = *texts == 0;
        // each text is one line, because it is never too long for that, even with its name
        if let (Told::Said { first, lines }, Told::Said { lines: own, .. }) = (outcome, &mut told) {
            *own = if is_last { *lines } else { 1.min(*lines) };
            *first = first.saturating_add((*own).into());
            *lines = lines.saturating_sub(*own);
        }
        if is_last {
            self.flight = Flight::None;
        }
        let post = self.waiting.pop()?;
        self.is_slowed &= self.waiting.count() > 0;
        Some((post, told))
    }

    /// Returns the next text that will never be posted.
    pub(super) fn poll_unsaid(&mut self) -> Option<PostId> {
        self.waiting.pop()
    }
}

fn is_command(text: &str) -> bool {
    Command::of(text).is_some_and(|command| !matches!(command, Command::Say(_)))
}
