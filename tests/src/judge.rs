//! The oracle's judgement of one datagram: the event and the reply that it must cause.

mod joining;
pub(crate) mod proving;

use core::net::SocketAddr;

use kilochat_core::{Departure, Event, Instant, NAME_MAX, Name, Refusal};

use crate::dialect::{self, Admitted, HELP_START, Meaning, is_blank, text_of};
use crate::log::{Kind, Line};
use crate::oracle::{Member, Oracle};
use crate::text::{cleaned, cut, folded, repaired, visible};
use crate::transcript::check_wire;
use crate::{Seen, Verdict, Violation, check};
pub(crate) use proving::code_asked_for;

/// Minimum time between two notices to a peer that its datagrams are not text.
const NOT_UTF8_INTERVAL: u64 = 60_000;

/// Minimum time between two notices to a peer that its lines exceed the rate limit.
const TOO_FAST_INTERVAL: u64 = 10_000;

/// Number of last lines with which a text is compared.
const RECENT: usize = 16;

/// Number of returned datagrams after which a peer leaves, and the seconds within which the next one counts.
const RETURNED_MAX: u8 = 3;
const RETURNED_S: u64 = 60;

/// Equal names get the numbers from 2 up to this one in order.
const SMALL_NUMBERS: u32 = 9;

/// The results of a call to `handle_datagram`.
struct Outcome<'a> {
    event: &'a Event,
    reply: &'a str,
}

/// The results that are required.
enum Due {
    Exactly(Event, String),
    /// A help text with any content, with a line end or without.
    Help(Event, bool),
    /// A request for a code with this name, with a line end or without.
    Code(String, bool),
}

impl Oracle {
    /// Judges a call to `handle_datagram`.
    ///
    /// # Errors
    ///
    /// If the event or the reply is wrong.
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
            // events of the framed dialect only
            Event::Joined { .. }
            | Event::Left(_)
            | Event::Removed { .. }
            | Event::Challenged
            | Event::Claimed { .. }
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
            Event::Challenged
            | Event::Claimed { .. }
            | Event::Resumed { .. }
            | Event::Acknowledged { .. } => return,
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
                Refusal::Returned => Seen::RefusedReturned,
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
        if self.is_returned(text) {
            return refused(Refusal::Returned, "");
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
            | Meaning::Msg(_)
            | Meaning::Unknown(_) => refused(Refusal::Nameless, dialect::NAMELESS),
        }
    }

    /// Handles the rest of a first datagram after the name: it is a message, if the datagram got a
    /// seat and the rest is not blank.
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

    /// Returns whether a datagram is a frame. A simulation of the plain dialect sends none that is
    /// valid.
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
            // it does not count as a sign of life: the source may be forged
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
        let welcome = format!("* welcome {}: ", self.member(seat)?.name);
        if self.is_returned(text) || (!self.config.classic && text.starts_with(&welcome)) {
            return self.returns(now, seat);
        }
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

    /// Whether a text is one of the last lines, or ends in it.
    fn is_returned(&self, text: &str) -> bool {
        let mut lines = self.log.recent(RECENT).iter();
        let is_it = |line: &Line| line.kind != Kind::Private && text.ends_with(&line.text);
        !self.config.classic && lines.any(is_it)
    }

    /// A peer returned what it was sent.
    fn returns(&mut self, now: u64, seat: usize) -> Verdict<Due> {
        self.counts.saw(Seen::Returned);
        let member = self.member(seat)?;
        let place = member.seat;
        let (times, at) = member.returned;
        let second = now / 1000;
        // in 16 bits
        let is_soon = second.wrapping_sub(at) & 0xFFFF <= RETURNED_S;
        member.returned = (if is_soon { times + 1 } else { 1 }, second);
        if member.returned.0 < RETURNED_MAX {
            let (seat, why) = (Some(place), Refusal::Returned);
            return Ok(Due::Exactly(Event::Refused { seat, why }, String::new()));
        }
        self.counts.saw(Seen::LeftForEcho);
        self.tally.echoes += 1;
        self.tally.refused[Refusal::Returned as usize] += 1;
        let departed = self.leave(seat, Departure::Echo)?;
        Ok(Due::Exactly(Event::Left(departed), String::new()))
    }

    /// Returns the reply to a refused datagram of a peer.
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

    /// Returns the notice about lines that exceeded the rate limit, if one is due.
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
            Meaning::Msg(message) => self.whispers(seat, message)?,
            Meaning::Unknown(word) => (Seen::UnknownCommand, dialect::unknown(word)),
            Meaning::Say(_) => return Err(Violation("no command".to_owned())),
        };
        self.counts.saw(seen);
        Ok(Due::Exactly(answered, ended(&text, newline)))
    }

    /// Judges a message to one peer. Returns what it is, and the answer.
    fn whispers(&mut self, seat: usize, message: &str) -> Verdict<(Seen, String)> {
        let author = self.member(seat)?.name.clone();
        let splits = dialect::whisper_splits(message);
        let mut found = Vec::new();
        for (name, text) in &splits {
            let mut members = self.members.values();
            let is_meant = |member: &&Member| folded(&member.name) == folded(name);
            if let Some(to) = members.find(is_meant) {
                found.push((to.name.clone(), to.reader.id, *text));
            }
        }
        let end = message.find(|it: char| it == ':' || it.is_whitespace());
        let word = end.map(|end| &message[..end]);
        let text = match (&found[..], word) {
            ([(_, _, "")], _) | ([], None | Some("")) => dialect::NO_MSG.to_owned(),
            ([(name, to, text)], _) => {
                self.tally.messages += 1;
                for line in dialect::whispered(&author, text) {
                    self.append(Kind::Private, Some(*to), line);
                }
                return Ok((Seen::Whispered, dialect::whisper_said(name, text)));
            }
            ([], Some(name)) => {
                format!("* nobody is called {}", cleaned(cut(name, NAME_MAX)))
            }
            ([(one, ..), (other, ..), ..], _) => {
                format!("* not sent: {one} and {other} are both here")
            }
        };
        Ok((Seen::NotWhispered, text))
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

    /// Returns the name of a peer that requested `wanted`. `told` is the name in the reply: it may
    /// have a large number, which the relay is free to choose.
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

    /// Returns whether a refusal is told to its source. A datagram that looks like a notice is not
    /// answered: two relays would answer each other for ever.
    fn may_answer(&self, payload: &[u8]) -> bool {
        !self.config.classic && !payload.starts_with(b"* ")
    }

    fn member(&mut self, seat: usize) -> Verdict<&mut Member> {
        let nobody = || Violation(format!("nobody has seat {seat}"));
        self.members.get_mut(&seat).ok_or_else(nobody)
    }
}

/// Returns a notice with the line end that its reader wants.
fn ended(text: &str, newline: bool) -> String {
    format!("{text}{}", if newline { "\n" } else { "" })
}

fn too_long(name: &str) -> Violation {
    Violation(format!("a name that is too long: {name:?}"))
}
