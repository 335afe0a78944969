//! The oracle's judgement of one datagram: the event and the reply that it has to cause.

mod joining;
mod proving;

use core::net::SocketAddr;

use kilochat_core::{Departure, Event, Instant, NAME_MAX, Name, Refusal};

use crate::dialect::{self, Admitted, HELP_START, Meaning, is_blank, text_of};
use crate::log::Kind;
use crate::oracle::{Member, Oracle};
use crate::text::{cut, folded, repaired, visible};
use crate::transcript::check_wire;
use crate::{Seen, Verdict, Violation, check};
pub(crate) use proving::code_asked_for;

/// A peer is told at most so often that its datagrams are not text.
const NOT_UTF8_INTERVAL: u64 = 60_000;

/// A peer is told at most so often that its lines are too fast.
const TOO_FAST_INTERVAL: u64 = 10_000;

/// Numbers of equal names up to here are given in order.
const SMALL_NUMBERS: u32 = 9;

/// What came out of a call to `handle_datagram`.
struct Outcome<'a> {
    event: &'a Event,
    reply: &'a str,
}

/// What has to come out.
enum Due {
    Exactly(Event, String),
    /// A help text, whose words are free, with a line end or without.
    Help(Event, bool),
    /// A code for this name, with a line end or without.
    Code(String, bool),
}

impl Oracle {
    /// `handle_datagram` was called.
    ///
    /// # Errors
    ///
    /// The event or the reply is not the right one.
    pub fn datagram(
        &mut self,
        now: Instant,
        source: SocketAddr,
        payload: &[u8],
        event: &Event,
        reply: &[u8],
    ) -> Verdict {
        let now = self.tick(now);
        let reply = check_wire(reply)?;
        let outcome = Outcome { event, reply };
        let seat = self
            .members
            .iter()
            .find(|(_, member)| member.address == source)
            .map(|(seat, _)| *seat);
        let due = match seat {
            Some(seat) => self.by_member(now, seat, payload, &outcome)?,
            None => {
                let due = self.by_stranger(now, source, payload, &outcome)?;
                self.account(source, payload, outcome.reply)?;
                self.limited(now, due)
            }
        };
        let ok = match &due {
            Due::Exactly(right, text) => event == right && reply == text,
            Due::Help(right, newline) => {
                event == right
                    && reply.starts_with(HELP_START)
                    && reply.lines().all(|line| line.starts_with("* "))
                    && reply.ends_with('\n') == *newline
            }
            Due::Code(name, newline) => self.learns_code(now, source, &outcome, name, *newline),
        };
        check(ok, || match &due {
            Due::Exactly(right, text) => {
                format!("{event:?} {reply:?} instead of {right:?} {text:?}")
            }
            Due::Help(right, _) => format!("{event:?} {reply:?} instead of {right:?} and help"),
            Due::Code(name, _) => format!("{event:?} {reply:?} instead of a code for {name}"),
        })?;
        self.count(event, reply);
        Ok(())
    }

    fn count(&mut self, event: &Event, reply: &str) {
        self.tally.datagrams += 1;
        match event {
            Event::Said { .. } => self.tally.messages += 1,
            Event::Renamed { .. } => self.tally.renamed += 1,
            Event::Answered { .. } | Event::Helped => self.tally.answered += 1,
            Event::Keepalive { .. } => self.tally.keepalives += 1,
            Event::Refused { why, .. } => {
                self.tally.refused[*why as usize] += 1;
                self.tally.untold += u64::from(reply.is_empty());
            }
            // ... and what is only of those who speak in frames
            Event::Joined { .. }
            | Event::Left(_)
            | Event::Removed { .. }
            | Event::Challenged
            | Event::Resumed { .. }
            | Event::Acknowledged { .. } => {}
        }
        let seen = match event {
            Event::Said { lines: 1, .. } => Seen::Message,
            Event::Said { .. } => Seen::TwoLines,
            Event::Renamed { .. } => Seen::Renamed,
            Event::Keepalive { .. } => Seen::Keepalive,
            Event::Joined { .. } => Seen::Joined,
            Event::Left(_) => Seen::Quit,
            Event::Removed { .. } => return,
            Event::Helped => Seen::StrangerHelped,
            Event::Answered { .. } => Seen::Answered,
            Event::Challenged | Event::Resumed { .. } | Event::Acknowledged { .. } => return,
            Event::Refused { why, .. } => match why {
                Refusal::Session | Refusal::Dialect | Refusal::Late => return,
                Refusal::Frame => Seen::Frame,
                Refusal::TooLong => Seen::TooLong,
                Refusal::NotUtf8 => Seen::NotUtf8,
                Refusal::Blank => Seen::Blank,
                Refusal::Nameless => Seen::Nameless,
                Refusal::Source => Seen::Source,
                Refusal::Foreign => Seen::Foreign,
                Refusal::Unproven => Seen::Unproven,
                Refusal::Full => Seen::Full,
                Refusal::Locked
                | Refusal::Muted
                | Refusal::Denied
                | Refusal::Crowded
                | Refusal::Hasty => return,
                Refusal::Slow => Seen::TooFast,
                Refusal::Stopping => Seen::RefusedStopping,
            },
        };
        self.counts.saw(seen);
    }

    fn by_stranger(
        &mut self,
        now: u64,
        source: SocketAddr,
        payload: &[u8],
        outcome: &Outcome<'_>,
    ) -> Verdict<Due> {
        let newline = dialect::unpadded(payload).ends_with(b"\n");
        let refused = |why, text: &str| {
            let text = if text.is_empty() {
                String::new()
            } else {
                ended(text, newline)
            };
            Ok(Due::Exactly(Event::Refused { seat: None, why }, text))
        };
        if !dialect::is_unicast(source) {
            return refused(Refusal::Source, "");
        }
        let admitted = dialect::admitted(&self.config, source.ip());
        if admitted == Admitted::Never {
            return refused(Refusal::Foreign, "");
        }
        if self.is_frame(payload) {
            return refused(Refusal::Frame, "");
        }
        if self.is_stopping {
            return refused(Refusal::Stopping, "");
        }
        if admitted == Admitted::AfterProof {
            return self.must_prove(now, source, payload, newline, outcome);
        }
        let text = match text_of(payload) {
            Ok(text) => text,
            Err(Refusal::TooLong) if self.may_answer(payload) => {
                return refused(Refusal::TooLong, dialect::TOO_LONG);
            }
            Err(why) => return refused(why, ""),
        };
        if is_blank(text) {
            return refused(Refusal::Blank, "");
        }
        if self.config.classic {
            return self.joins(now, source, text, newline, outcome);
        }
        if !visible(text).starts_with('/') {
            return match dialect::code(text) {
                Some((_, "")) => refused(Refusal::Nameless, dialect::NAMELESS),
                Some((_, name)) => self.joins(now, source, name, newline, outcome),
                None => self.joins(now, source, text, newline, outcome),
            };
        }
        match Meaning::of(visible(text)) {
            Meaning::Help => Ok(Due::Help(Event::Helped, newline)),
            Meaning::Nick(name) if !is_blank(name) => {
                self.joins(now, source, name, newline, outcome)
            }
            Meaning::Say(_)
            | Meaning::Nick(_)
            | Meaning::Who(_)
            | Meaning::Quit
            | Meaning::Quiet(_)
            | Meaning::Unknown(_) => refused(Refusal::Nameless, dialect::NAMELESS),
        }
    }

    /// What follows the name in a first datagram is said, if it got a seat.
    fn says_first(&mut self, message: &str, event: &Event) -> Verdict {
        if let Event::Joined { seat, .. } = event
            && !is_blank(message)
        {
            self.says(seat.index(), message)?;
            self.tally.messages += 1;
            self.counts.saw(Seen::SaidAtOnce);
        }
        Ok(())
    }

    /// Whether it is of the other dialect, of which these datagrams never make sense.
    fn is_frame(&self, payload: &[u8]) -> bool {
        payload.first() == Some(&1) && !self.config.classic
    }

    fn by_member(
        &mut self,
        now: u64,
        seat: usize,
        payload: &[u8],
        outcome: &Outcome<'_>,
    ) -> Verdict<Due> {
        if self.is_frame(payload) {
            // it shows nothing: the source may be forged
            let (seat, why) = (None, Refusal::Frame);
            return Ok(Due::Exactly(Event::Refused { seat, why }, String::new()));
        }
        let may_answer = self.may_answer(payload);
        let member = self.member(seat)?;
        member.heard = now;
        member.suspect = false;
        member.reported = None;
        member.ports = 0;
        let (place, newline) = (member.seat, member.reader.newline);
        let text = match text_of(payload) {
            Ok(text) => text,
            Err(why) => {
                let text = self.refusal(now, seat, why, may_answer)?;
                let seat = Some(place);
                return Ok(Due::Exactly(Event::Refused { seat, why }, text));
            }
        };
        let meaning = if self.config.classic {
            Meaning::Say(text)
        } else if is_blank(text) {
            let event = Event::Keepalive { seat: place };
            let text = self.unsaid(now, seat, may_answer)?;
            return Ok(Due::Exactly(event, text));
        } else {
            Meaning::of(text)
        };
        if self.is_stopping && meaning != Meaning::Quit {
            let (seat, why) = (Some(place), Refusal::Stopping);
            let text = match may_answer {
                true => ended(dialect::NOT_WHILE_STOPPING, newline),
                false => String::new(),
            };
            return Ok(Due::Exactly(Event::Refused { seat, why }, text));
        }
        let pace = self.member(seat)?.pace.as_mut();
        if meaning != Meaning::Quit && pace.is_some_and(|pace| pace.take(now).is_err()) {
            self.member(seat)?.unsaid += 1;
            let (place, why) = (Some(place), Refusal::Slow);
            let text = self.unsaid(now, seat, may_answer)?;
            return Ok(Due::Exactly(Event::Refused { seat: place, why }, text));
        }
        if let Meaning::Say(said) = meaning {
            let told = self.unsaid(now, seat, may_answer)?;
            let due = self.says(seat, said)?;
            return Ok(if let Due::Exactly(event, _) = due {
                Due::Exactly(event, told)
            } else {
                due
            });
        }
        self.commands(seat, meaning, outcome)
    }

    /// What is answered to a refused datagram of a peer.
    fn refusal(
        &mut self,
        now: u64,
        seat: usize,
        why: Refusal,
        may_answer: bool,
    ) -> Verdict<String> {
        if !may_answer {
            if !self.config.classic {
                self.counts.saw(Seen::LooksLikeNotice);
            }
            return Ok(String::new());
        }
        let member = self.member(seat)?;
        let newline = member.reader.newline;
        if why == Refusal::TooLong {
            return Ok(ended(dialect::TOO_LONG, newline));
        }
        if why != Refusal::NotUtf8 {
            return Ok(String::new());
        }
        if now < member.tell_at {
            self.counts.saw(Seen::NotUtf8Untold);
            return Ok(String::new());
        }
        member.tell_at = now + NOT_UTF8_INTERVAL;
        Ok(ended(dialect::NOT_UTF8, newline))
    }

    /// What a peer is told of lines that were too fast, if it is told.
    fn unsaid(&mut self, now: u64, seat: usize, may_answer: bool) -> Verdict<String> {
        let (rate, burst) = (self.config.rate, self.config.burst);
        let member = self.member(seat)?;
        if !may_answer || member.unsaid == 0 || now < member.tell_at {
            return Ok(String::new());
        }
        let lines = match core::mem::take(&mut member.unsaid) {
            1 => "1 of your lines was".to_owned(),
            lines => format!("{lines} of your lines were"),
        };
        member.tell_at = now + TOO_FAST_INTERVAL;
        let newline = member.reader.newline;
        self.counts.saw(Seen::ToldTooFast);
        let text = format!("* too fast: {lines} not said; {burst} at once, then {rate} a second");
        Ok(ended(&text, newline))
    }

    fn says(&mut self, seat: usize, text: &str) -> Verdict<Due> {
        let member = self.member(seat)?;
        let (place, author) = (member.seat, member.reader.id);
        let lines = dialect::rendered(&member.name, text);
        let event = Event::Said {
            seat: place,
            lines: if lines.len() == 1 { 1 } else { 2 },
        };
        for line in lines {
            self.append(Kind::Message, Some(author), line);
        }
        Ok(Due::Exactly(event, String::new()))
    }

    fn commands(
        &mut self,
        seat: usize,
        meaning: Meaning<'_>,
        outcome: &Outcome<'_>,
    ) -> Verdict<Due> {
        let member = self.member(seat)?;
        let newline = member.reader.newline;
        let answered = Event::Answered { seat: member.seat };
        let (seen, text) = match meaning {
            Meaning::Nick(name) => return self.renames(seat, name, outcome),
            Meaning::Help => {
                self.counts.saw(Seen::Help);
                return Ok(Due::Help(answered, newline));
            }
            Meaning::Quit => {
                let departed = self.leave(seat, Departure::Quit)?;
                let text = ended(dialect::BYE, newline);
                return Ok(Due::Exactly(Event::Left(departed), text));
            }
            Meaning::Quiet(wanted) => {
                let quiet = wanted.unwrap_or(member.reader.quiet);
                let is_new = quiet && !member.reader.quiet;
                member.reader.quiet = quiet;
                member.was_quiet |= quiet;
                if let (true, Some(member)) = (is_new, self.members.get_mut(&seat)) {
                    self.tally.missed += member.reader.catch_up(&self.log);
                    member.reader.skip(&self.log);
                }
                (Seen::Quiet, dialect::quiet(quiet))
            }
            Meaning::Who(prefix) => {
                let text = dialect::who(prefix, &self.names());
                let seen = match text.as_str() {
                    nobody if nobody.starts_with("* nobody") => Seen::NobodyBegins,
                    cut if cut.contains(" more; /who ") => Seen::WhoCut,
                    _ => Seen::Who,
                };
                (seen, text)
            }
            Meaning::Unknown(word) => (Seen::UnknownCommand, dialect::unknown(word)),
            Meaning::Say(_) => return Err(Violation("no command".to_owned())),
        };
        self.counts.saw(seen);
        Ok(Due::Exactly(answered, ended(&text, newline)))
    }

    fn renames(&mut self, seat: usize, raw: &str, outcome: &Outcome<'_>) -> Verdict<Due> {
        let member = self.member(seat)?;
        let (newline, id) = (member.reader.newline, member.reader.id);
        let answered = Event::Answered { seat: member.seat };
        let Some(wanted) = repaired(raw) else {
            return Ok(Due::Exactly(answered, ended(dialect::NO_NAME, newline)));
        };
        let told = outcome
            .reply
            .trim_start_matches("* you are now ")
            .lines()
            .next()
            .unwrap_or_default();
        let name = self.unique(&wanted, Some(seat), told)?;
        let member = self.member(seat)?;
        if member.name == name {
            self.counts.saw(Seen::NotRenamed);
            let text = format!("* you are {name} already");
            return Ok(Due::Exactly(answered, ended(&text, newline)));
        }
        let from = core::mem::replace(&mut member.name, name.clone());
        let event = Event::Renamed {
            seat: member.seat,
            from: Name::try_from(from.as_str()).map_err(|_| too_long(&from))?,
        };
        self.announce(
            self.members.len(),
            Some(id),
            format!("* {from} is now {name}"),
        );
        let mut text = format!("* you are now {name}");
        if name != wanted {
            text.push_str(&format!("\n* {wanted} is taken"));
        }
        Ok(Due::Exactly(event, ended(&text, newline)))
    }

    /// The name that a peer gets who wants `wanted`; `told` is what it was told, if that was a
    /// name with a larger number.
    fn unique(&mut self, wanted: &str, own: Option<usize>, told: &str) -> Verdict<String> {
        let taken: Vec<String> = self
            .members
            .iter()
            .filter(|(seat, _)| Some(**seat) != own)
            .map(|(_, member)| folded(&member.name))
            .collect();
        let is_free = |name: &str| !taken.contains(&folded(name));
        if is_free(wanted) {
            return Ok(wanted.to_owned());
        }
        let numbered = |number: u32| {
            let suffix = format!("~{number}");
            format!("{}{suffix}", cut(wanted, NAME_MAX - suffix.len()))
        };
        if let Some(name) = (2..=SMALL_NUMBERS).map(numbered).find(|name| is_free(name)) {
            self.counts.saw(Seen::NameNumbered);
            return Ok(name);
        }
        let told = told
            .trim_start_matches("* you are ")
            .trim_end_matches(" already");
        let number = told
            .rsplit('~')
            .next()
            .and_then(|number| number.parse().ok());
        let number = number.filter(|number| *number > SMALL_NUMBERS && is_free(told));
        self.counts.saw(Seen::NameNumberedHigh);
        match number.map(numbered) {
            Some(name) if name == told => Ok(name),
            other => Err(Violation(format!("{told:?} for {wanted:?}: not {other:?}"))),
        }
    }

    fn names(&self) -> Vec<&str> {
        self.members
            .values()
            .map(|member| member.name.as_str())
            .collect()
    }

    /// Whether a refusal may be told: a notice is not answered, lest two relays talk for ever.
    fn may_answer(&self, payload: &[u8]) -> bool {
        !self.config.classic && !payload.starts_with(b"* ")
    }

    fn member(&mut self, seat: usize) -> Verdict<&mut Member> {
        let nobody = || Violation(format!("nobody has seat {seat}"));
        self.members.get_mut(&seat).ok_or_else(nobody)
    }
}

/// A notice as its reader's datagrams end.
fn ended(text: &str, newline: bool) -> String {
    format!("{text}{}", if newline { "\n" } else { "" })
}

fn too_long(name: &str) -> Violation {
    Violation(format!("a name that is too long: {name:?}"))
}
