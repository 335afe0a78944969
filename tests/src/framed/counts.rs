//! The cases that simulations of the framed dialect must cover.

use crate::counts::seen;

seen! {
    /// A case that a simulation of the framed dialect must cover.
    Met {
        // seats
        JoinedNew
        JoinedUnannounced
        Resumed
        ResumedElsewhere
        Continued
        Restarted
        History
        TakenOver
        Claimed
        ClaimDenied
        GivenAway
        SeatLost
        NoSeat
        AskedAgain
        WaitedForSeat
        DisplacedParked
        Full
        FromPlain
        PlainJoined
        Left
        Ended
        ClientCrashed
        // lines to clients
        Line
        OwnLine
        Coalesced
        ManyAtOnce
        Padded
        GapSent
        GapShown
        GapAroundHeld
        LostWithRun
        HoleSeen
        HoleFilled
        SentAgain
        TimedOut
        NothingNew
        NoRoom
        OldEpoch
        Parked
        Unparked
        WindowFull
        KeptAlive
        // texts to the relay
        Said
        ManyTexts
        PartlyAccepted
        PostAgain
        PostedLater
        PostAnsweredAgain
        PostLate
        CommandAnswered
        Whispered
        ForFormer
        Doubtful
        Unsaid
        OutFull
        // faults of the network, the hosts and the relay's process
        Lost
        Doubled
        VeryLate
        Reordered
        Dark
        Jammed
        Deferred
        ReplyRefused
        WelcomeLost
        WelcomeAgain
        ClientSlept
        RelaySuspended
        HeardAfterSuspend
        NeighbourGone
        WayBlocked
        OtherWayOpen
        OtherWayOpenFramed
        CrowdCame
        CrowdWent
        NotReadable
        ClientMoved
        ClientsSwapped
        ClientPaused
        ClockForward
        ClockBack
        RelayClockForward
        RelayClockBack
        RelayRestarted
        RelayStopped
        RelaySettled
        RelayUnsettled
        RefusedStopping
        PostRefusedStopping
        LastHello
        Reconnected
        Silent
        Back
        ReportedPath
        // spoofers
        ForgedSession
        ForgedText
        ForgedHello
        ForgedFrame
        Flood
        StolenHello
        StolenSession
        SessionWanted
        ForgedByRelay
        Meddled
        Contested
        ForgedTextByRelay
        ForgedName
        ForgedCode
        // replies to strangers
        Foreign
        CodeGiven
        JoinedByCode
        Challenged
        CookieSpent
        UnknownSession
    }
}
