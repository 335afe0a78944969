//! The cases that simulations of linked relays must cover.

use crate::counts::seen;

seen! {
    /// A case that a simulation of linked relays must cover.
    Linked {
        // what is said and shown
        Said
        HeldUp
        FromElsewhere
        FromAnEarlierRun
        History
        Lost
        LostFromTheStart
        AnswerShown
        // what is handed over
        HandedOver
        LineTooLongForBuffer
        // what the engine does
        RequestLost
        AcknowledgementLost
        ToldDuplicate
        StoredTwice
        Redelivered
        DroppedAsKnown
        OwnDropped
        Parted
        RolledBack
        MadeAgain
        ReadFromItsStart
        ReadAgain
        Dropped
        Restarted
    }
}
