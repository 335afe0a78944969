//! The oracle's judgement of a first datagram: which seat it gets, and the reply.

use core::net::SocketAddr;

use kilochat_core::{Departed, Departure, Event, Refusal, Seat};

use crate::bucket::Bucket;
use crate::dialect::{self, Admitted};
use crate::judge::{Due, Outcome, ended};
use crate::log::{Kind, Reader};
use crate::oracle::{Member, Oracle};
use crate::text::{folded, repaired};
use crate::{Seen, Verdict, Violation, check};

/// Minimum time between two searches for an address that has too many seats.
const CROWD_INTERVAL: u64 = 1000;

impl Oracle {
    pub(super) fn joins(
        &mut self,
        now: u64,
        source: SocketAddr,
        raw: &str,
        newline: bool,
        outcome: &Outcome<'_>,
    ) -> Verdict<Due> {
        let (raw, message) = match self.config.classic {
            true => (raw, String::new()),
            false => dialect::first_line(raw),
        };
        let refused = |why, text| Ok(Due::Exactly(Event::Refused { seat: None, why }, text));
        let Some(wanted) = repaired(raw) else {
            return refused(Refusal::Blank, String::new());
        };
        let is_proven = self.has_proved(source);
        let displaced = if let Some(heir) = self.heir(source, &wanted, is_proven) {
            self.counts.saw(Seen::Takeover);
            self.tally.restarted += 1;
            Some(self.leave(heir, Departure::Restarted)?)
        } else if self.members.len() < self.seats {
            None
        } else if let Some(silent) = self.makes_room(now, source, outcome.event) {
            self.counts.saw(Seen::Displaced);
            self.tally.displaced += 1;
            Some(self.leave(silent, Departure::Displaced)?)
        } else {
            let text = format!("* full: {0} of {0} seats taken", self.seats);
            let is_told = !self.config.classic;
            let text = if is_told {
                ended(&text, newline)
            } else {
                String::new()
            };
            return refused(Refusal::Full, text);
        };
        let Event::Joined { seat, .. } = *outcome.event else {
            return Err(Violation(format!("{:?} instead of joining", outcome.event)));
        };
        self.check_seat(seat, displaced.as_ref())?;
        let told = outcome.reply.trim_start_matches("* welcome ");
        let told = told.split(':').next().unwrap_or_default();
        let name = if self.config.classic {
            wanted
        } else {
            self.unique(&wanted, None, told)?
        };
        let text = self.seated(now, seat, source, (raw, &name), newline);
        self.says_first(&message, outcome.event)?;
        Ok(Due::Exactly(Event::Joined { seat, displaced }, text))
    }

    /// Gives a newcomer its seat. Returns the required reply.
    fn seated(
        &mut self,
        now: u64,
        seat: Seat,
        address: SocketAddr,
        (raw, name): (&str, &str),
        newline: bool,
    ) -> String {
        let is_proven = self.has_proved(address);
        let before = self.log.head();
        self.announce(self.members.len() + 1, None, format!("* {name} joined"));
        let mut first = self.log.head();
        if !self.config.classic {
            let start = self.log.history(usize::from(self.config.history));
            if start < before {
                first = start;
            }
        }
        let lines = self.log.lines(first.min(before), before).iter();
        let history = lines.filter(|line| line.kind != Kind::Private).count();
        self.joins += 1;
        self.tally.joined += 1;
        let mut reader = Reader {
            id: self.joins,
            echo: self.config.echo,
            classic: self.config.classic,
            newline,
            quiet: false,
            next: first,
            lost: 0,
        };
        reader.skip(&self.log);
        let member = Member {
            seat,
            address,
            name: name.to_owned(),
            heard: now,
            tell_at: 0,
            unsaid: 0,
            pace: 1000_u64
                .checked_div(self.config.rate.into())
                .map(|interval| Bucket::new(self.config.burst.into(), interval)),
            suspect: false,
            reported: None,
            ports: 0,
            is_proven,
            returned: (0, 0),
            reader,
            first,
            was_quiet: false,
            got: Vec::new(),
            in_hand: 0,
            is_blocked: false,
        };
        self.members.insert(seat.index(), member);
        self.count_join(address, name != raw, newline, history);
        if self.config.classic {
            return String::new();
        }
        let names = self.names();
        let text = dialect::welcome(name, &names, &self.config.motd, name != raw, history);
        ended(&text, newline)
    }

    fn count_join(&mut self, address: SocketAddr, is_changed: bool, newline: bool, history: usize) {
        for (seen, what) in [
            (self.config.classic, Seen::JoinedClassic),
            (address.is_ipv6(), Seen::JoinedV6),
            (newline, Seen::JoinedWithNewline),
            (is_changed, Seen::NameChanged),
            (history == 1, Seen::HistoryOfOne),
            (history > 1, Seen::History),
            (self.members.len() > 16, Seen::WelcomeCut),
        ] {
            if seen {
                self.counts.saw(what);
            }
        }
    }

    fn check_seat(&self, seat: Seat, displaced: Option<&Departed>) -> Verdict {
        let is_free = !self.members.contains_key(&seat.index()) && seat.index() < self.seats;
        check(is_free, || format!("{seat:?} is not free"))?;
        check(
            displaced.is_none_or(|departed| departed.seat == seat),
            || format!("{seat:?} is not the place of {displaced:?}"),
        )
    }

    /// Whether a source that joins has shown that it is there: who has to has, and on this machine
    /// nobody can forge.
    fn has_proved(&self, source: SocketAddr) -> bool {
        let admitted = dialect::admitted(&self.config, source.ip());
        admitted == Admitted::AfterProof || source.ip().is_loopback()
    }

    /// Returns the suspect that has this address and name: its client was restarted.
    fn heir(&self, source: SocketAddr, name: &str, is_proven: bool) -> Option<usize> {
        let same = |member: &Member| {
            member.suspect
                && (is_proven || !member.is_proven)
                && member.address.ip() == source.ip()
                && folded(&member.name) == folded(name)
        };
        let mut members = self.members.iter().filter(|_| !self.config.classic);
        members
            .find(|(_, member)| same(member))
            .map(|(seat, _)| *seat)
    }

    /// Returns the peer whose seat a newcomer gets in a full room.
    fn makes_room(&mut self, now: u64, source: SocketAddr, event: &Event) -> Option<usize> {
        let left = if let Event::Joined { displaced, .. } = event {
            displaced.as_ref().map(|left| left.seat.index())
        } else {
            None
        };
        let is_proven = self.has_proved(source);
        let silent = self.longest_silent(now, event, is_proven);
        // after the clock was set back, the relay may not know yet that a peer was silent for long
        let is_late = self.slack > 0 && left.is_some() && left != silent;
        if silent.is_some() && !is_late {
            if self.slack > 0 {
                // or the relay found the same peer in a crowd
                self.admission.crowd_doubted = now + CROWD_INTERVAL;
            }
            return silent;
        }
        if now < self.admission.crowd_at {
            return None;
        }
        self.admission.crowd_at = now + CROWD_INTERVAL;
        let of = |ip| {
            self.members
                .values()
                .filter(move |it| it.address.ip() == ip)
        };
        let mut ips = self.members.values().map(|member| member.address.ip());
        let crowd = ips.find(|ip| 2 * of(*ip).count() > self.members.len())?;
        if crowd == source.ip() {
            return None;
        }
        if matches!(event, Event::Refused { .. }) && now < self.admission.crowd_doubted {
            self.admission.crowd_at = self.admission.crowd_doubted;
            return None;
        }
        let may_go = |member: &&Member| is_proven || !member.is_proven;
        let oldest = of(crowd).filter(may_go).map(|member| member.heard).min()?;
        let mut oldest = of(crowd)
            .filter(may_go)
            .filter(|member| member.heard == oldest);
        let first = oldest.clone().next()?.seat.index();
        self.counts.saw(Seen::CrowdedOut);
        let chosen = oldest.find(|member| left == Some(member.seat.index()));
        Some(chosen.map_or(first, |member| member.seat.index()))
    }

    /// Returns the peer that has been silent for longest, if its seat may be given away. Among
    /// equals the relay is free to choose.
    fn longest_silent(&mut self, now: u64, event: &Event, is_proven: bool) -> Option<usize> {
        let all = self.members.values().map(|member| member.heard).min()?;
        let may_go = |member: &Member| is_proven || !member.is_proven;
        let mut unproven = self.members.values().filter(|member| may_go(member));
        let Some(oldest) = unproven.by_ref().map(|member| member.heard).min() else {
            self.counts.saw(Seen::NotDisplaced);
            return None;
        };
        if all < oldest {
            self.counts.saw(Seen::NotDisplaced);
        }
        let silence = now.saturating_sub(oldest);
        let is_full = matches!(
            event,
            Event::Refused {
                why: Refusal::Full,
                ..
            }
        );
        // after the clock was set back, the relay may wait until it shows the old time again
        if silence <= self.idle() || (is_full && silence <= self.idle() + self.slack) {
            return None;
        }
        let mut silent = self
            .members
            .iter()
            .filter(|(_, member)| member.heard == oldest && may_go(member));
        let first = silent.clone().next();
        let chosen = if let Event::Joined {
            displaced: Some(departed),
            ..
        } = event
        {
            silent.find(|(seat, _)| **seat == departed.seat.index())
        } else {
            None
        };
        chosen.or(first).map(|(seat, _)| *seat)
    }
}
