//! Messages for who taps.

use super::LineTask;
use crate::hub::taps::{TapMessage, TapProperties};
use crate::iotag::{StationId, Timestamp};
use crate::mqtt::{Delivery, Publication, PublishProperties};

impl LineTask {
    /// A message has come, and somebody taps.
    #[cold]
    pub(super) fn offer_to_taps(
        &self,
        station: Option<StationId>,
        (delivery, dup): (Delivery, bool),
        publication: &Publication,
        received: Timestamp,
    ) {
        let line = &self.config.name;
        let station = station.map(|station| self.stations.name(station));
        let topic = &publication.topic;
        self.hub.taps().offer(line, station.map(|name| &**name), topic, || TapMessage {
            line: line.clone(),
            station: station.cloned(),
            topic: topic.clone(),
            // A copy: a piece of the input would keep all of it.
            payload: publication.payload[..].into(),
            qos: publication.qos.level(),
            retain: publication.retain,
            dup,
            packet_id: delivery.packet_id,
            received,
            properties: publication.properties.as_deref().map(|own| Box::new(properties(own))),
        });
    }
}

fn properties(properties: &PublishProperties) -> TapProperties {
    TapProperties {
        payload_is_text: properties.payload_is_text,
        message_expiry_s: properties.message_expiry_s,
        content_type: properties.content_type.clone(),
        response_topic: properties.response_topic.clone(),
        correlation_data: properties.correlation_data.as_ref().map(|data| data.to_vec()),
        user_properties: properties.user_properties.clone(),
    }
}
