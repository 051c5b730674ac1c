//! What the configuration of a line says to its MQTT client.

use crate::config::{self, Line, MqttVersion, Server};
use crate::hub::status::PathId;
use crate::mqtt::{
    ClientOptions, ConnectProperties, Publication, PublishProperties, RetainHandling,
    SubscribeOptions, Subscription, Version, Will,
};

/// The options of one connection of a line: all is the same for both but identifier and servers.
pub(super) fn client_options(
    line: &Line,
    path: PathId,
    subscriptions: &[Subscription],
) -> ClientOptions {
    ClientOptions {
        version: match line.mqtt_version {
            MqttVersion::V311 => Version::V311,
            MqttVersion::V5 => Version::V5,
        },
        client_id: match (&line.redundant, path) {
            (Some(second), PathId::SECOND) => second.client_id.clone(),
            _ => line.client_id.clone(),
        },
        clean_session: line.clean_session,
        keep_alive: line.keep_alive,
        ping_interval: line.ping_interval,
        reply_timeout: line.reply_timeout,
        will: line.will.as_ref().map(|will| Will {
            publication: Publication {
                topic: will.topic.as_str().into(),
                payload: will.message.clone().into_bytes().into(),
                qos: will.qos,
                retain: will.retain,
                properties: will.content_type.as_deref().map(with_content_type),
            },
            delay_s: will.delay_s,
        }),
        subscriptions: subscriptions.to_vec(),
        publish_in_flight: line.publish_in_flight,
        maximum_packet_size: line.maximum_packet_size,
        properties: match line.mqtt_version {
            MqttVersion::V311 => ConnectProperties::default(),
            MqttVersion::V5 => ConnectProperties {
                session_expiry_s: line.mqtt5.session_expiry_s,
                receive_maximum: Some(line.mqtt5.receive_maximum),
                topic_alias_maximum: line.mqtt5.topic_alias_maximum,
                user_properties: line.mqtt5.user_properties.clone(),
            },
        },
        reconnect_min: line.reconnect_min,
        reconnect_max: line.reconnect_max,
        servers: servers(line, path).len(),
        seed: fastrand::u64(..),
    }
}

/// How a filter is subscribed to.
pub(super) fn subscribe_options(line: &Line, filter: &str) -> SubscribeOptions {
    let mqtt5 = &line.mqtt5;
    SubscribeOptions {
        // MQTT-3.8.3-4: a shared subscription has no local messages.
        no_local: mqtt5.no_local && !filter.starts_with("$share/"),
        retain_as_published: mqtt5.retain_as_published,
        retain_handling: match mqtt5.retain_handling {
            config::RetainHandling::Always => RetainHandling::Always,
            config::RetainHandling::New => RetainHandling::IfAbsent,
            config::RetainHandling::Never => RetainHandling::Never,
        },
    }
}

/// What a message of MQTT 5.0 says of its payload.
pub(super) fn with_content_type(content_type: &str) -> Box<PublishProperties> {
    let content_type = Some(content_type.to_owned());
    Box::new(PublishProperties { content_type, ..PublishProperties::default() })
}

/// The servers of one connection, which are tried in turn.
pub(super) fn servers(line: &Line, path: PathId) -> &[Server] {
    match (&line.redundant, path) {
        (Some(second), PathId::SECOND) => &second.servers,
        _ => &line.servers,
    }
}
