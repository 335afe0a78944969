//! Handling of the lines that a session receives.

use core::mem;
use core::time::Duration;
use std::time::Instant;

use kilochat_core::Notice;

use super::super::dialect::{End, MAY_MISS, User};
use super::super::private;
use super::super::screen::output::{Kind, Shown};
use super::asked::Asker;
use super::outbox::Line;
use super::wire::{self, Received};
use super::{ACCEPTED_AFTER, FULL_RETRY_INTERVAL, Phase, RejoinReason, Server, Session};

/// Time after a welcome in which an equal one is a duplicate made by the network.
const DUPLICATE_WITHIN: Duration = Duration::from_millis(500);

impl Session {
    /// Handles a received line, which must be clean.
    pub(super) fn handle_received(&mut self, now: Instant, line: &str) {
        match wire::parse(line) {
            Received::Message { name, text } => {
                self.show(Kind::Message, name, text);
                self.notice_old_server();
            }
            Received::Notice { text, meaning } => {
                if meaning == Notice::Other
                    && let Some((name, text)) = private::read(text)
                {
                    // it is not received again as history, even if this client joins again with frames
                    let private = Shown::new(Kind::Private, Some(name), text);
                    self.output.push_back(private);
                    return;
                }
                // an announcement can arrive before the welcome
                let is_refusal = matches!(self.phase, Phase::Joining { .. })
                    && !matches!(
                        meaning,
                        Notice::Welcome { .. }
                            | Notice::Named(_)
                            | Notice::Announcement
                            | Notice::Prove(_)
                            | Notice::Busy(_)
                            | Notice::Lost(_)
                    );
                if is_refusal && wire::may_be_said(text) {
                    self.show(Kind::Notice, None, text);
                    self.notice_old_server();
                } else if is_refusal {
                    self.finish(End::Failed(format!("the relay refused: {text}")));
                } else {
                    self.handle_notice(now, text, meaning);
                }
            }
        }
    }

    fn handle_notice(&mut self, now: Instant, text: &str, meaning: Notice<'_>) {
        let is_welcomed = matches!(self.phase, Phase::Welcomed { .. });
        match meaning {
            Notice::TooFast {
                burst,
                rate,
                seconds,
                ..
            } => {
                let interval = Duration::from_secs(seconds.into()) / rate.max(1);
                self.outbox.pace.handle_too_fast(now, burst, interval);
                self.show(Kind::Notice, None, text);
            }
            Notice::Removed => self.finish(End::Failed(text.into())),
            Notice::Prove(code) => self.handle_code(now, code),
            Notice::Busy(code) => {
                self.show(Kind::Notice, None, text);
                self.outbox.push(Line::Said(code.into()));
            }
            Notice::Welcome { name, history } => self.handle_welcome(now, text, name, history),
            Notice::Named(names) => self.handle_named(now, text, names),
            Notice::Full if matches!(self.phase, Phase::Rejoining(_)) => {
                self.handle_full(now, text);
            }
            // the first `/quit` has arrived, and its answer is lost
            Notice::Nameless if self.is_for_frames() => self.finish_leaving(),
            Notice::Nameless if is_welcomed => {
                self.show(Kind::Notice, None, text);
                self.report("the relay was restarted; joining again");
                self.outbox.queue_recent(now);
                self.outbox.queue_last();
                self.rejoin(now, now, RejoinReason::Forgotten);
            }
            Notice::Stopping if is_welcomed => {
                self.show(Kind::Notice, None, text);
                self.outbox.queue_recent(now);
                self.report("waiting for the relay, to join again");
                self.rejoin(now, now + ACCEPTED_AFTER, RejoinReason::Announced);
            }
            Notice::GivenAway if is_welcomed => {
                self.show(Kind::Notice, None, text);
                self.report("joining again");
                self.rejoin(now, now, RejoinReason::Announced);
            }
            Notice::Bye if matches!(self.phase, Phase::Leaving { .. }) => {
                self.show(Kind::Notice, None, text);
                self.finish_leaving();
            }
            Notice::Lost(lost) => {
                self.output.push_back(Shown::new(Kind::Notice, None, text));
                self.history_left = self.history_left.saturating_sub(lost);
            }
            Notice::Full
            | Notice::Nameless
            | Notice::Stopping
            | Notice::GivenAway
            | Notice::Bye
            | Notice::Announcement
            | Notice::Other => self.show(Kind::Notice, None, text),
        }
    }

    fn handle_welcome(&mut self, now: Instant, text: &str, name: &str, history: usize) {
        let is_duplicate =
            matches!(self.phase, Phase::Welcomed { since } if now < since + DUPLICATE_WITHIN);
        if is_duplicate && name == self.name {
            return;
        }
        if self.server != Server::Frameless {
            self.history_left = 0;
            self.show(Kind::Notice, None, text);
            self.history_left = history;
        }
        let _ = self.asked.take(name);
        let is_ours = wire::is_made_of(name, &self.name);
        let is_asked = match self.phase {
            Phase::Joining { .. } => true,
            Phase::Unwelcomed => is_ours || self.outbox.is_fresh(),
            Phase::Welcomed { .. } | Phase::Rejoining(_) => is_ours,
            Phase::Leaving { .. } => return,
        };
        if self.server == Server::Frameless {
            if !is_asked {
                self.outbox.queue_mistaken(name);
            }
            self.leave_for_frames(now);
            return;
        }
        if !is_asked {
            self.handle_mistaken(now, name);
            return;
        }
        if let Phase::Welcomed { .. } = self.phase {
            self.outbox.queue_recent(now);
            self.report(format!("the relay was restarted; joined again{MAY_MISS}"));
        }
        self.enter(now, name, true);
    }

    /// Handles a full room: asks again later. The user is told once.
    fn handle_full(&mut self, now: Instant, text: &str) {
        let Phase::Rejoining(rejoining) = &mut self.phase else {
            return;
        };
        rejoining.next = now + FULL_RETRY_INTERVAL;
        if !mem::replace(&mut rejoining.is_full, true) {
            let seconds = FULL_RETRY_INTERVAL.as_secs();
            self.report(format!("no seat yet ({text}); asking again in {seconds} s"));
        }
    }

    /// Handles the relay's mistake of a line for a name: takes the name back and sends the line
    /// again.
    fn handle_mistaken(&mut self, now: Instant, name: &str) {
        if self.outbox.has_renamed(name) {
            if !matches!(self.phase, Phase::Rejoining(_)) {
                self.report(format!("the relay was restarted; joined again{MAY_MISS}"));
            }
            self.enter(now, name, true);
            return;
        }
        self.outbox.queue_mistaken(name);
        self.report("the relay was restarted; joining again");
        if !matches!(self.phase, Phase::Welcomed { .. }) {
            self.phase = Phase::Welcomed { since: now };
        }
        self.rejoin(now, now, RejoinReason::Forgotten);
    }

    /// Handles a confirmed name. It is valid only if one of the names that the text can be parsed
    /// as was requested.
    fn handle_named(&mut self, now: Instant, text: &str, names: [Option<&str>; 2]) {
        let answer = names
            .into_iter()
            .flatten()
            .find_map(|name| Some((name, self.asked.take(name)?)));
        let Some((name, asker)) = answer else {
            self.show(Kind::Notice, None, text);
            return;
        };
        if asker == Asker::Client {
            if matches!(self.phase, Phase::Rejoining(_)) {
                self.enter(now, name, false);
                return;
            }
            self.outbox.handle_answer();
            if name == self.name {
                return;
            }
        }
        self.show(Kind::Notice, None, text);
        self.outbox.handle_renamed();
        self.name = name.into();
    }

    /// Records that the client has a seat, perhaps a new one. Lines can be sent from now on.
    fn enter(&mut self, now: Instant, name: &str, is_new: bool) {
        if let Phase::Rejoining(rejoining) = self.phase {
            let may_miss = match rejoining.why {
                RejoinReason::Announced => false,
                RejoinReason::Silent => is_new,
                RejoinReason::Forgotten | RejoinReason::Moved => true,
            };
            let end = if may_miss { MAY_MISS } else { "" };
            self.report(format!("joined again as {name}{end}"));
        }
        self.name = name.into();
        self.outbox.pace.reset(now);
        self.outbox.pace.handle_welcome(now);
        self.phase = Phase::Welcomed { since: now };
    }

    /// Handles a message before a welcome: the server is an old one.
    fn notice_old_server(&mut self) {
        if self.user == User::Person && matches!(self.phase, Phase::Joining { .. }) {
            self.report(
                "no welcome: this is an old server; lines are sent exactly as you type them",
            );
            self.phase = Phase::Unwelcomed;
        }
    }

    fn show(&mut self, kind: Kind, name: Option<&str>, text: &str) {
        if self.is_for_frames() {
            return; // the line is received again as history
        }
        let is_history = self.history_left > 0;
        self.history_left = self.history_left.saturating_sub(1);
        let kind = if is_history { Kind::History } else { kind };
        self.output.push_back(Shown::new(kind, name, text));
    }
}
