//! A spoofer: it can send from any source address and reads what others send, except for secrets.

use core::net::SocketAddr;

use kilochat_core::framed::{
    Ack, Cookie, Data, Frame, Gap, Goodbye, Hello, Outcome, Post, Posted, Reason, Refused, Resume,
    Session, Texts, Welcome,
};
use kilochat_core::{Path, Received};

use crate::dialect::{self, Admitted};
use crate::framed::counts::Met;
use crate::framed::network::Datagram;
use crate::framed::wire::{Wire, told};
use crate::framed::world::World;
use crate::inputs::{chance, pick};
use crate::{Verdict, check};

impl<const PEERS: usize, const RING: usize, const WINDOW: usize, const HELD: usize>
    World<PEERS, RING, WINDOW, HELD>
{
    /// Forges one datagram or several.
    pub(crate) fn spoof(&mut self) -> Verdict {
        let victim = self.victim();
        match self.random.u32(0..12) {
            0 | 1 => {
                let payload = self.forged_session_frame();
                self.forges(victim, payload, Met::ForgedSession)
            }
            2 => {
                let is_framed = self
                    .shown()
                    .iter()
                    .any(|peer| peer.framed && peer.address == victim);
                if !is_framed {
                    return Ok(());
                }
                let texts = ["forged", "/quit", "/nick Eve", "", "* notice", "\u{1F600}"];
                let text = pick(&mut self.random, &texts);
                self.forges(victim, text.into(), Met::ForgedText)
            }
            3 => {
                let payload = self.forged_hello();
                self.forges(victim, payload, Met::ForgedHello)
            }
            4 => {
                let payload = self.garbage();
                self.forges(victim, payload, Met::ForgedFrame)
            }
            5 => {
                for _ in 0..self.random.usize(5..30) {
                    let source = SocketAddr::from(([10, 0, 0, 1], self.random.u16(1..)));
                    let payload = self.forged_hello();
                    self.forges(source, payload, Met::Flood)?;
                }
                Ok(())
            }
            6 => self.steals(victim),
            7 => self.wants_a_session(),
            9 => self.meddles(),
            10 => self.forges_name(victim),
            _ => self.forges_relay(),
        }
    }

    /// Returns an address to forge.
    fn victim(&mut self) -> SocketAddr {
        let members = self.members.iter().map(|member| member.base);
        let plains = self.plains.iter().map(|plain| plain.address);
        let shown = self.shown().into_iter().map(|peer| peer.address);
        let mut addresses: Vec<SocketAddr> = members.chain(plains).chain(shown).collect();
        addresses.push(SocketAddr::from(([10, 0, 0, 1], self.random.u16(1..))));
        addresses.push(SocketAddr::from(([203, 0, 113, 7], self.random.u16(1..))));
        pick(&mut self.random, &addresses)
    }

    /// Hands the relay a forged datagram that must change nothing.
    fn forges(&mut self, source: SocketAddr, payload: Vec<u8>, met: Met) -> Verdict {
        self.saw(met);
        let before = (
            self.shown(),
            self.relay.stats().lines,
            self.relay.poll_timeout(),
            self.relay.can_receive(),
        );
        let datagram = Datagram {
            source,
            destination: self.address,
            payload,
        };
        self.relay_handles(&datagram)?;
        let after = (
            self.shown(),
            self.relay.stats().lines,
            self.relay.poll_timeout(),
            self.relay.can_receive(),
        );
        check(before == after, || {
            let forged = told(&datagram.payload);
            format!("{forged} from {source} changed {before:?} to {after:?}")
        })
    }

    /// Forges a text from a source that must prove its address, or that is not served.
    fn forges_name(&mut self, victim: SocketAddr) -> Verdict {
        let foreign = SocketAddr::from(([203, 0, 113, 7], self.random.u16(1..)));
        let source = pick(&mut self.random, &[victim, foreign]);
        let must_prove = dialect::admitted(&self.config, source.ip()) != Admitted::AtOnce;
        if !must_prove || self.relay.find(&source).is_some() {
            return Ok(());
        }
        let other = self.admission.code_of_another(source);
        let guessed = self.random.u32(..100_000_000);
        let code = pick(&mut self.random, &[other.unwrap_or(guessed), guessed]);
        let texts = ["Eve", "/nick Eve", "/help", "/who", "/quit", "", "* notice"];
        let is_code = self.random.bool();
        let text = match is_code {
            true => format!("{code:08} Eve"),
            false => pick(&mut self.random, &texts).to_owned(),
        };
        self.forges(
            source,
            text.into_bytes(),
            match is_code {
                true => Met::ForgedCode,
                false => Met::ForgedName,
            },
        )
    }

    fn number(&mut self) -> u64 {
        if chance(&mut self.random, 50) {
            self.random.u64(..50)
        } else {
            self.random.u64(..)
        }
    }

    fn forged_session_frame(&mut self) -> Vec<u8> {
        let session = Session(self.random.u64(..));
        let mut texts = [0; 64];
        let frame = match self.random.u32(0..3) {
            0 => Frame::Leave(session),
            1 => Frame::Ack(Ack {
                session,
                echo: Some(self.random.u16(..)),
                answer: self.random.bool(),
                next: self.number(),
                ranges: Default::default(),
            }),
            _ => Frame::Post(Post {
                session,
                number: self.random.u16(..4),
                sent_at: self.random.u16(..),
                texts: Texts::collect(["forged", "/quit"], &mut texts).0,
            }),
        };
        encoded(&frame)
    }

    /// Returns a HELLO with a wrong cookie, or with none. The epoch in its RESUME is the real one.
    fn forged_hello(&mut self) -> Vec<u8> {
        let epoch = self.rooms.last().unwrap().epoch.unwrap_or_default();
        let resume = chance(&mut self.random, 30).then(|| Resume {
            session: Session(self.random.u64(..)),
            epoch,
            next: self.number(),
        });
        let cookie = chance(&mut self.random, 50);
        encoded(&Frame::Hello(Hello {
            abilities: 0,
            nonce: self.random.u64(..),
            cookie: cookie.then(|| self.random.u128(..).to_be_bytes()),
            resume,
            name: "Eve",
        }))
    }

    fn garbage(&mut self) -> Vec<u8> {
        let mut payload = vec![
            1,
            *b"HPKLWCRADGBZ".get(self.random.usize(..12)).unwrap_or(&0),
        ];
        let length = pick(&mut self.random, &[0, 1, 8, 20, 130, 1021, 1022, 1400]);
        payload.extend((0..length).map(|_| self.random.u8(..)));
        payload
    }

    /// Replays a datagram of a client from another address.
    fn steals(&mut self, thief: SocketAddr) -> Verdict {
        let address = self.address;
        let frames = self.network.overheard();
        let frames: Vec<Vec<u8>> = frames
            .filter(|datagram| datagram.destination == address && datagram.source != thief)
            .map(|datagram| datagram.payload.clone())
            .collect();
        let stolen = frames.iter().find(|payload| match Wire::read(payload) {
            Some(Wire::Hello { .. }) => !self.gate.was_given(thief, payload),
            Some(Wire::Ack { session, .. } | Wire::Post { session, .. } | Wire::Leave(session)) => {
                self.gate.holder_of(session) != Some(thief)
            }
            _ => false,
        });
        let Some(stolen) = stolen.cloned() else {
            return Ok(());
        };
        let met = if stolen.starts_with(b"\x01H") {
            Met::StolenHello
        } else {
            Met::StolenSession
        };
        self.forges(thief, stolen, met)
    }

    /// Asks for a client's session from an address of its own, as who reads the network can.
    fn wants_a_session(&mut self) -> Verdict {
        let holders: Vec<_> = self.gate.holders().cloned().collect();
        let thief = SocketAddr::from(([10, 0, 0, 7], self.random.u16(1024..)));
        let is_known = self.relay.find(&thief).is_some();
        if holders.is_empty() || is_known || chance(&mut self.random, 80) {
            return Ok(());
        }
        let holder = &holders[self.random.usize(..holders.len())];
        let mut hello = Hello {
            abilities: 0,
            nonce: self.random.u64(..),
            cookie: None,
            resume: Some(Resume {
                session: Session(holder.session),
                epoch: self.rooms.last().unwrap().epoch.unwrap_or_default(),
                next: holder.acked,
            }),
            name: "Eve",
        };
        self.is_muted = true;
        let asked = self.relay_handles(&Datagram {
            source: thief,
            destination: self.address,
            payload: encoded(&Frame::Hello(hello.clone())),
        });
        self.is_muted = false;
        asked?;
        hello.cookie = self.gate.cookie_of(thief);
        hello.nonce = hello.nonce.wrapping_add(1);
        let pauses = [[0, 500, 1000, 1100], [0, 400, 800, 900], [0, 0, 900, 5000]];
        for after in pick(&mut self.random, &pauses) {
            let datagram = Datagram {
                source: thief,
                destination: self.address,
                payload: encoded(&Frame::Hello(hello.clone())),
            };
            self.network.put(self.now + after, datagram);
        }
        self.saw(Met::SessionWanted);
        Ok(())
    }

    /// Forges a POST in a client's session; answers to it do not reach the client. The forged
    /// number is at most one ahead of the client's last one, because the relay could not tell a
    /// number two ahead from a late datagram.
    fn meddles(&mut self) -> Verdict {
        let holders: Vec<_> = self.gate.holders().cloned().collect();
        if holders.is_empty() || chance(&mut self.random, 80) {
            return Ok(());
        }
        let holder = &holders[self.random.usize(..holders.len())];
        let last = holder.last_post().unwrap_or_default();
        let mut members = self.members.iter();
        let waits = members.any(|member| member.client.unanswered() > 0);
        let forgeries = ["forged", "/nick Mallory", "/who"];
        let was_forged = forgeries.iter().any(|text| holder.has_posted(text));
        let ahead = if waits || was_forged {
            0
        } else {
            self.random.u16(..2)
        };
        let number = last.wrapping_add(ahead);
        let texts = pick(&mut self.random, &forgeries);
        let mut room = [0; 32];
        let frame = Frame::Post(Post {
            session: Session(holder.session),
            number,
            sent_at: 0,
            texts: Texts::collect([texts], &mut room).0,
        });
        self.saw(Met::Meddled);
        self.is_muted = true;
        let verdict = self.relay_handles(&Datagram {
            source: holder.address,
            destination: self.address,
            payload: encoded(&frame),
        });
        self.is_muted = false;
        verdict
    }

    /// Hands a client a forged datagram of the relay.
    fn forges_relay(&mut self) -> Verdict {
        let number = self.random.usize(..self.members.len());
        let member = &self.members[number];
        if member.is_paused(self.now) || member.is_lazy || !member.inbox.is_empty() {
            return Ok(());
        }
        self.member_turn(number)?;
        let is_text = chance(&mut self.random, 15);
        let payload = if is_text {
            b"* welcome Eve: 1 here (Eve)".to_vec()
        } else if chance(&mut self.random, 20) {
            self.garbage()
        } else {
            self.forged_by_relay()
        };
        self.saw(if is_text {
            Met::ForgedTextByRelay
        } else {
            Met::ForgedByRelay
        });
        let process = self.members[number].process;
        self.note(|_| format!("forged for c{process}: {}", told(&payload)));
        let member = &mut self.members[number];
        let clock = member.clock(self.now);
        let before = (member.client.state(), member.client.poll_timeout());
        let received = member.client.handle_datagram(clock, Path(0), &payload);
        let after = (member.client.state(), member.client.poll_timeout());
        let event = member.client.poll_event().map(|event| format!("{event:?}"));
        let is_nothing = received != Received::Frame && before == after && event.is_none();
        check(is_nothing, || {
            let forged = told(&payload);
            format!("c{process} was {before:?}, takes {forged}, and is {after:?}: {event:?}")
        })
    }

    fn forged_by_relay(&mut self) -> Vec<u8> {
        let session = Session(self.random.u64(..));
        let nonce = self.random.u64(..);
        let (first, lines) = (self.number() >> 1, self.random.u64(1..9));
        let mut line = vec![1, b'D'];
        line.extend(self.random.u32(..).to_be_bytes());
        line.extend([0; 2]);
        line.extend(first.to_be_bytes());
        line.extend([0, 14, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        line.extend(b"Eve!");
        let data = Frame::decode(&line);
        let frame = match self.random.u32(0..7) {
            0 => Frame::Bye(
                session,
                pick(&mut self.random, &[Goodbye::Unknown, Goodbye::TakenOver]),
            ),
            1 => Frame::Gap(Gap {
                session,
                sent_at: 0,
                from: first,
                until: first + lines,
            }),
            2 => Frame::Posted(Posted {
                session,
                number: self.random.u16(..4),
                sent_at: self.random.u16(..),
                outcome: Outcome::Accepted {
                    first,
                    lines: 1,
                    texts: 1,
                },
            }),
            3 => Frame::Welcome(Welcome {
                nonce,
                session,
                epoch: self.random.u32(..),
                author: 1,
                first,
                head: first + lines,
                uptime_s: 0,
                window: 8,
                keepalive_s: 15,
                name: "Eve",
                text: "welcome",
            }),
            4 => Frame::Refused(Refused {
                nonce,
                reason: Reason::Full,
                retry_s: 0,
            }),
            5 => Frame::Cookie(Cookie {
                version: "1",
                words: "",
                nonce,
                cookie: self.random.u128(..).to_be_bytes(),
            }),
            _ => match data {
                Ok(Frame::Data(Data { .. })) => return line,
                _ => Frame::Leave(session),
            },
        };
        encoded(&frame)
    }
}

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut buffer = [0; 1024];
    let length = frame.encode(&mut buffer).unwrap();
    buffer[..length].to_vec()
}
