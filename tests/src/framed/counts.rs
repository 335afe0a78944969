//! What simulations of the framed dialect have to meet.

use crate::counts::seen;

seen! {
    /// Something that a simulation of the framed dialect has to meet.
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
        // lines down
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
        // texts up
        Said
        ManyTexts
        PartlyAccepted
        PostAgain
        PostAnsweredAgain
        PostLate
        CommandAnswered
        Doubtful
        Unsaid
        OutFull
        // what the network and the world did
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
        ForgedByRelay
        Meddled
        Contested
        ForgedTextByRelay
        // what strangers got
        Challenged
        CookieSpent
        UnknownSession
    }
}
