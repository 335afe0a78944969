//! Bugs that can be planted, so that a test can show that it would find them.
//!
//! Without the feature `planted` there are none: `is_planted` is constantly false.
#![cfg_attr(
    not(feature = "planted"),
    expect(unreachable_pub, reason = "public for the test that plants")
)]

#[cfg(feature = "planted")]
use core::sync::atomic::{AtomicU8, Ordering};

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// A line that does not fit into a datagram is skipped: a cursor that is off by one.
    LineSkipped,
    /// A peer that is behind gets its own lines.
    AuthorHearsItself,
    /// A name may hold a colon, and so begin like a line of somebody else.
    NameForged,
    /// A name may begin like a notice.
    NoticeForged,
    /// Control characters go through.
    EscapePassed,
    /// Lines that were overwritten are not counted.
    OverrunUntold,
    /// Peers at the same place are told of a gap that is one peer's alone.
    GapShared,
    /// What the network refused is not offered again.
    RefusedLost,
    /// Nothing may be read when the ring is full, although nobody is owed anything.
    Deadlock,
    /// A suspect holds up what is read.
    SuspectHoldsUp,
    /// A suspect holds up what is sent to others.
    SuspectStalls,
    /// A seat's new owner does not see the lines of the old one.
    OldLinesHidden,
    /// A newcomer is shown one message more than it should be.
    HistoryTooLong,
    /// A quiet peer gets the announcements of its neighbours in the queue.
    QuietTold,
    /// A peer gets the line end of its neighbours in the queue.
    LineEndShared,
    /// The rest of a long message is lost.
    RestLost,
    /// The ring takes one byte more than it has.
    RingTooLong,
    /// A datagram that is too long is refused without a word.
    RefusalUntold,
    /// A refusal without a word is not counted.
    DropUncounted,
    /// Another address may take over the name of a suspect.
    NameTaken,
    /// A burst of reports makes a peer leave.
    BurstLeaves,
    /// A client is not told that lines were overwritten.
    GapUntold,
    /// What was lost on the way to a client is not sent again.
    NeverResent,
    /// Nothing on the way to a client is ever thought to be lost for the time that it takes.
    NoTimeout,
    /// A client's acknowledgement is taken for one line less.
    AckOffByOne,
    /// A frame may name any session.
    SessionUnchecked,
    /// A HELLO without a cookie gets a seat.
    CookieUnchecked,
    /// A HELLO that was overtaken is taken.
    LateTaken,
    /// Who resumes gets what it has already acknowledged again.
    ResumeMovesBack,
    /// A POST is said again when it comes again.
    PostedTwice,
    /// The same HELLO again gets another session.
    SecondSession,
    /// Who does not answer is sent lines for ever.
    ParkedServed,
    /// The old address of a session that moved is not told.
    TakeoverUntold,
    /// A window that was halved to nothing stays so.
    WindowDeaf,
    /// A client is told that a line is gone which is not.
    GapTooLong,
    /// What fills a datagram up is taken for lines.
    PaddingShown,
    /// A client counts lines as lost that it has.
    HeldLost,
    /// A client takes lines of another run of the relay.
    OldEpochTaken,
    /// A client takes a BYE of any session.
    AnyByeTaken,
    /// A client takes texts for said that were not accepted.
    RestUnsaid,
    /// A client posts again in another session what was perhaps said.
    PostedAgain,
    /// A client acknowledges lines that it has not, before others that it has.
    AckTooFar,
    /// A client says that it has one line more than it has.
    RangeTooLong,
}

#[cfg(feature = "planted")]
impl Bug {
    /// All of them.
    pub const ALL: [Self; 43] = [
        Self::LineSkipped,
        Self::AuthorHearsItself,
        Self::NameForged,
        Self::NoticeForged,
        Self::EscapePassed,
        Self::OverrunUntold,
        Self::GapShared,
        Self::RefusedLost,
        Self::Deadlock,
        Self::SuspectHoldsUp,
        Self::SuspectStalls,
        Self::OldLinesHidden,
        Self::HistoryTooLong,
        Self::QuietTold,
        Self::LineEndShared,
        Self::RestLost,
        Self::RingTooLong,
        Self::RefusalUntold,
        Self::DropUncounted,
        Self::NameTaken,
        Self::BurstLeaves,
        Self::GapUntold,
        Self::NeverResent,
        Self::NoTimeout,
        Self::AckOffByOne,
        Self::SessionUnchecked,
        Self::CookieUnchecked,
        Self::LateTaken,
        Self::ResumeMovesBack,
        Self::PostedTwice,
        Self::SecondSession,
        Self::ParkedServed,
        Self::TakeoverUntold,
        Self::WindowDeaf,
        Self::GapTooLong,
        Self::PaddingShown,
        Self::HeldLost,
        Self::OldEpochTaken,
        Self::AnyByeTaken,
        Self::RestUnsaid,
        Self::PostedAgain,
        Self::AckTooFar,
        Self::RangeTooLong,
    ];

    /// Whether it is one of the framed dialect.
    pub const fn is_framed(self) -> bool {
        self as u8 >= Self::GapUntold as u8
    }
}

/// The bug that is planted, by its number from 1 on; 0 is none.
#[cfg(feature = "planted")]
static PLANTED: AtomicU8 = AtomicU8::new(0);

/// Plants a bug, or none, in all relays of this program.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(bug.map_or(0, |bug| bug as u8 + 1), Ordering::Relaxed);
}

#[cfg(feature = "planted")]
pub(crate) fn is_planted(bug: Bug) -> bool {
    PLANTED.load(Ordering::Relaxed) == bug as u8 + 1
}

#[cfg(not(feature = "planted"))]
pub(crate) const fn is_planted(_: Bug) -> bool {
    false
}
