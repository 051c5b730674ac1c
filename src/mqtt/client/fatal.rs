//! Publishes that the server answers by ending the connection.

use super::{Client, EndedBy};
use crate::mqtt::bounds;
use crate::mqtt::session::{Sending, Stage};

impl Client {
    /// A server ends the connection of a client that publishes what it may not, and gets the same
    /// publish again on the next one. Looks for it when a connection has not lasted.
    pub(super) fn suspect(&mut self, by: EndedBy, lasted: bool) {
        let gone = self.connection.transmitted_bytes;
        let lasted = lasted || by != EndedBy::Peer;
        let first = self.session.in_order().into_iter().find(|packet_id| {
            self.session.outgoing.get(packet_id).is_some_and(|outgoing| {
                let was_sent = matches!(outgoing.sending, Sending::Given(end) if end <= gone);
                was_sent && matches!(outgoing.stage, Stage::Publish(_))
            })
        });
        let mut told = None;
        for (packet_id, outgoing) in &mut self.session.outgoing {
            if lasted {
                outgoing.fatal = 0;
            } else if Some(*packet_id) == first {
                outgoing.fatal = outgoing.fatal.saturating_add(1);
                if let (Stage::Publish(publication), 2) = (&outgoing.stage, outgoing.fatal) {
                    told = Some(publication.topic.clone());
                }
            }
        }
        if let Some(topic) = told {
            self.notice(format!(
                "the server has closed the connection twice in a row without an answer to the \
                 publication on `{topic}`: may this client publish there?"
            ));
        }
    }

    /// Whether a publish has ended so many connections that it is given up; nobody waits for it.
    pub(super) fn is_fatal(&self, packet_id: u16) -> bool {
        self.session.outgoing.get(&packet_id).is_some_and(|outgoing| {
            // Who waits for as long as it takes would wait for ever.
            let waits = outgoing.waiter.is_some_and(|waiter| waiter.due.is_some());
            outgoing.fatal >= bounds::FATAL_TIMES && (!waits || outgoing.expires.is_some())
        })
    }

    /// Gives a publish up.
    pub(super) fn abandon_fatal(&mut self, packet_id: u16) {
        if let Some(Stage::Publish(publication)) =
            self.session.outgoing.get(&packet_id).map(|outgoing| &outgoing.stage)
        {
            let text = format!(
                "the publication on `{}` is given up: the server closed the connection {} times \
                 in a row instead of answering it",
                publication.topic,
                bounds::FATAL_TIMES
            );
            self.notice(text);
        }
        self.end_uncertain(packet_id, "it was given up");
    }
}
