//! The orders of an operator: their syntax, and the code that authenticates them.

use core::fmt::Write;
use core::hash::Hasher;

use heapless::String;
use siphasher::sip128::{Hasher128, SipHasher24};

use super::framed::{Session, TEXT_MAX};

/// Start of a signed order: this word, 32 hexadecimal digits, a space, and the order.
const WORD: &str = "/op ";

/// Number of digits of a code.
const DIGITS: usize = 32;

/// The purpose of the code: it separates these codes from other uses of the key.
const PURPOSE: u8 = 0x4F;

/// Time for which a ban lasts if the order names none, in minutes.
const BAN_MINUTES: u32 = 60;

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order<'a> {
    /// What is done to the peer of this name.
    Peer(&'a str, Action),
    /// Ends all bans.
    Unban,
    /// Whether the room is locked from now on.
    Lock(bool),
    /// Minimum seconds between two lines of a peer; 0 restores the configured limit.
    Slow(u16),
}

/// What an order does to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Kick,
    /// The duration of the ban in minutes.
    Ban(u32),
    /// Whether the peer is muted from now on.
    Mute(bool),
}

impl<'a> TryFrom<&'a str> for Order<'a> {
    type Error = ();

    /// Parses an order without its `/`. Fails if it is not an order, or an argument is missing.
    fn try_from(text: &'a str) -> Result<Self, ()> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let rest = rest.trim();
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        let to = |action| {
            if rest.is_empty() {
                return Err(());
            }
            Ok(Self::Peer(rest, action))
        };
        if is("kick") {
            to(Action::Kick)
        } else if is("ban") {
            let last_space = rest.bytes().rposition(|byte| byte == b' ');
            let timed = last_space.and_then(|at| {
                let (name, minutes) = rest.split_at_checked(at)?;
                let minutes = minutes.trim().parse::<u16>().ok()?;
                Some(Self::Peer(name.trim(), Action::Ban(minutes.into())))
            });
            timed.map_or_else(|| to(Action::Ban(BAN_MINUTES)), Ok)
        } else if is("unban") {
            Ok(Self::Unban)
        } else if is("mute") || is("unmute") {
            to(Action::Mute(is("mute")))
        } else if is("lock") || is("unlock") {
            Ok(Self::Lock(is("lock")))
        } else if is("slow") {
            rest.parse().map(Self::Slow).map_err(drop)
        } else {
            Err(())
        }
    }
}

/// Signs a text that is an order with its `/`, for one POST of one session. Returns `None` if it is
/// not an order, or too long.
pub(crate) fn sign(
    key: &[u8; 16],
    session: Session,
    number: u16,
    text: &str,
) -> Option<String<TEXT_MAX>> {
    let order = text.strip_prefix('/')?;
    Order::try_from(order).ok()?;
    let mut signed = String::new();
    signed.push_str(WORD).ok()?;
    for digit in digits(key, session, number, order) {
        signed.push(char::from_digit(digit, 16)?).ok()?;
    }
    write!(signed, " {order}").ok()?;
    Some(signed)
}

/// Returns the order in a signed text, or `Err` if its code is wrong. Returns `None` if the text is
/// not signed.
pub(crate) fn verify<'a>(
    key: &[u8; 16],
    session: Session,
    number: u16,
    text: &'a str,
) -> Option<Result<&'a str, ()>> {
    let rest = text.strip_prefix(WORD)?;
    let signed = rest.split_at_checked(DIGITS).and_then(|(given, order)| {
        let order = order.strip_prefix(' ')?;
        let expected = digits(key, session, number, order);
        let given = given.chars().map(|digit| digit.to_digit(16));
        // all are compared, so that the time does not tell how many are right
        let is_signed = given.zip(expected).fold(true, |is_signed, (given, digit)| {
            is_signed & (given == Some(digit))
        });
        is_signed.then_some(order)
    });
    Some(signed.ok_or(()))
}

/// Returns the digits of the code of an order.
fn digits(
    key: &[u8; 16],
    session: Session,
    number: u16,
    order: &str,
) -> impl Iterator<Item = u32> + use<> {
    let mut hasher = SipHasher24::new_with_key(key);
    hasher.write(&[PURPOSE]);
    hasher.write(&session.0.to_be_bytes());
    hasher.write(&number.to_be_bytes());
    hasher.write(order.as_bytes());
    let code = hasher.finish128().as_bytes();
    code.into_iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(u32::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 16] = [3; 16];

    #[test]
    fn orders_are_read() {
        for (text, expected) in [
            ("kick Bob", Some(Order::Peer("Bob", Action::Kick))),
            (
                "KICK two words ",
                Some(Order::Peer("two words", Action::Kick)),
            ),
            ("ban Bob", Some(Order::Peer("Bob", Action::Ban(60)))),
            ("ban Bob 30", Some(Order::Peer("Bob", Action::Ban(30)))),
            (
                "ban two words 5",
                Some(Order::Peer("two words", Action::Ban(5))),
            ),
            ("ban 30", Some(Order::Peer("30", Action::Ban(60)))),
            ("unban", Some(Order::Unban)),
            ("mute Bob", Some(Order::Peer("Bob", Action::Mute(true)))),
            ("unmute Bob", Some(Order::Peer("Bob", Action::Mute(false)))),
            ("lock", Some(Order::Lock(true))),
            ("unlock", Some(Order::Lock(false))),
            ("slow 5", Some(Order::Slow(5))),
            ("kick", None),
            ("ban", None),
            ("slow", None),
            ("slow down", None),
            ("who", None),
            ("", None),
        ] {
            assert_eq!(Order::try_from(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_code_is_good_for_one_key_session_number_and_order() {
        let signed = sign(&KEY, Session(7), 3, "/kick Bob").unwrap();
        assert_eq!(verify(&KEY, Session(7), 3, &signed), Some(Ok("kick Bob")));
        let (word, code, order) = (&signed[..4], &signed[4..36], &signed[36..]);
        let upper = [word, &code.to_uppercase(), order].concat();
        assert_eq!(verify(&KEY, Session(7), 3, &upper), Some(Ok("kick Bob")));
        for other in [
            verify(&[4; 16], Session(7), 3, &signed),
            verify(&KEY, Session(8), 3, &signed),
            verify(&KEY, Session(7), 4, &signed),
            verify(&KEY, Session(7), 3, &signed.replace("Bob", "Ada")),
            verify(&KEY, Session(7), 3, "/op 1234 kick Bob"),
            verify(&KEY, Session(7), 3, "/op "),
            // as many bytes, and digits of another script
            verify(
                &KEY,
                Session(7),
                3,
                &["/op ", &"é".repeat(16), " kick Bob"].concat(),
            ),
            verify(
                &KEY,
                Session(7),
                3,
                &["/op ", &"１".repeat(10), "aa kick Bob"].concat(),
            ),
        ] {
            assert_eq!(other, Some(Err(())));
        }
        let signed = |number| sign(&KEY, Session(7), number, "/unban").unwrap();
        let number = (0..u16::MAX).find(|number| signed(*number).starts_with("/op 0"));
        let plus = signed(number.unwrap()).replacen('0', "+", 1);
        let verified = verify(&KEY, Session(7), number.unwrap(), &plus);
        assert_eq!(verified, Some(Err(())));
        assert_eq!(verify(&KEY, Session(7), 3, "/kick Bob"), None);
        assert_eq!(sign(&KEY, Session(7), 3, "/who"), None);
        assert_eq!(sign(&KEY, Session(7), 3, "kick Bob"), None);
    }
}
