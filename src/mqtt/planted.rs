//! Mistakes that can be planted into the machine, to prove that the simulation would find them.
//!
//! Without the feature `planted-bugs` (and outside of unit tests) `planted` is a constant `false`,
//! and nothing of this is in the program.

/// A mistake that somebody could make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The ids of received QoS 2 messages are forgotten with the connection.
    ForgetReceivedOnDisconnect,
    /// They are kept although the server has lost the session.
    KeepReceivedOfLostSession,
    /// Ids wrap early and are not looked up.
    IdsWrapEarly,
    /// Resends go in the order of ids.
    ResendInIdOrder,
    /// The limit of publishes in flight is not looked at.
    IgnoreInFlightLimit,
    /// A resumed session does not send PUBREL again.
    NoPubrelOnResume,
    /// A resend has no DUP flag.
    ResendWithoutDup,
    /// A first transmission has a DUP flag.
    DupOnFirstSend,
    /// No PINGREQ for keep alive.
    NeverPing,
    /// A QoS 2 message that is not settled is handed over again after a reconnect.
    HandOverTwice,
    /// A settlement for an old connection is answered on the current one.
    AcknowledgeAcrossConnections,
    /// Acknowledgements go as they are settled, not as the messages came.
    AcknowledgeOutOfOrder,
    /// Acknowledgements go before the message is settled.
    AcknowledgeUnsettled,
    /// PUBLISH does not wait for its record.
    PublishBeforeDurable,
    /// PUBREL does not wait for its record.
    PubrelBeforeDurable,
    /// PUBCOMP does not wait for its record.
    PubcompBeforeDurable,
    /// A packet of which a part has come is thrown away.
    DropPartialPacket,
    /// A QoS 2 publish is reported complete at PUBREC.
    CompleteAtPubrec,
    /// No pause before a reconnect.
    NoBackOff,
    /// After a lost session nothing is subscribed again.
    SubscribeOnce,
    /// A publish in flight is dropped when the connection is lost.
    DropInFlightOnDisconnect,
    /// A filter that is not wanted any more stays with the server.
    NoUnsubscribe,
    /// After a lost session a publish is sent again with DUP.
    ResendAfterLostSession,
    /// A QoS 2 publish that may have arrived is submitted anew after a lost session.
    ResubmitAfterLostSession,
    /// PUBREL although PUBREC refuses the message.
    ReleaseRefused,
    /// Topic aliases outlive their connection.
    KeepAliases,
    /// A resend names its topic by an alias.
    ResendWithAlias,
    /// A refused publish does not give its place back.
    LeakPlace,
    /// A refused publish is reported as completed.
    CompleteRefused,
    /// The keep alive that the server wants is not looked at.
    IgnoreServerKeepAlive,
    /// The server's largest packet is not looked at.
    IgnorePacketSize,
    /// An exchange that the server begins again is taken for a new message.
    ForgetEndedExchanges,
}

/// Whether this mistake is planted.
#[cfg(not(any(test, feature = "planted-bugs")))]
#[inline(always)]
pub(super) const fn planted(_: Bug) -> bool {
    false
}

#[cfg(any(test, feature = "planted-bugs"))]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a mistake into all clients of this thread, or none.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    pub(in crate::mqtt) fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(any(test, feature = "planted-bugs"))]
pub use switch::plant;
#[cfg(any(test, feature = "planted-bugs"))]
pub(super) use switch::planted;
