//! All properties in one table, section 2.2.2.2.

use super::reader::Reader;
use crate::mqtt::error::Fault;

/// Where a property may stand: packets, and the will within CONNECT. DISCONNECT and PUBLISH differ
/// by their sender.
pub(super) type Places = u16;

pub(super) const CONNECT: Places = 1;
pub(super) const CONNACK: Places = 1 << 1;
/// PUBLISH from the server.
pub(super) const PUBLISH: Places = 1 << 2;
pub(super) const WILL: Places = 1 << 3;
pub(super) const PUBACK: Places = 1 << 4;
pub(super) const PUBREC: Places = 1 << 5;
pub(super) const PUBREL: Places = 1 << 6;
pub(super) const PUBCOMP: Places = 1 << 7;
pub(super) const SUBSCRIBE: Places = 1 << 8;
pub(super) const SUBACK: Places = 1 << 9;
pub(super) const UNSUBSCRIBE: Places = 1 << 10;
pub(super) const UNSUBACK: Places = 1 << 11;
/// DISCONNECT from the server.
pub(super) const DISCONNECT: Places = 1 << 12;
pub(super) const AUTH: Places = 1 << 13;
/// DISCONNECT from the client.
pub(super) const OUR_DISCONNECT: Places = 1 << 14;
/// PUBLISH from the client.
pub(super) const OUR_PUBLISH: Places = 1 << 15;

const ANSWERS: Places =
    CONNACK | PUBACK | PUBREC | PUBREL | PUBCOMP | SUBACK | UNSUBACK | DISCONNECT | AUTH;
const REQUESTS: Places = CONNECT | WILL | SUBSCRIBE | UNSUBSCRIBE | OUR_DISCONNECT;
const ALL: Places = ANSWERS | REQUESTS | MESSAGES;
const MESSAGES: Places = PUBLISH | OUR_PUBLISH | WILL;

/// A property by its identifier.
#[expect(clippy::enum_variant_names, reason = "User Property is its name")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Property {
    PayloadFormatIndicator = 0x01,
    MessageExpiryInterval = 0x02,
    ContentType = 0x03,
    ResponseTopic = 0x08,
    CorrelationData = 0x09,
    SubscriptionIdentifier = 0x0b,
    SessionExpiryInterval = 0x11,
    AssignedClientIdentifier = 0x12,
    ServerKeepAlive = 0x13,
    AuthenticationMethod = 0x15,
    AuthenticationData = 0x16,
    RequestProblemInformation = 0x17,
    WillDelayInterval = 0x18,
    RequestResponseInformation = 0x19,
    ResponseInformation = 0x1a,
    ServerReference = 0x1c,
    ReasonString = 0x1f,
    ReceiveMaximum = 0x21,
    TopicAliasMaximum = 0x22,
    TopicAlias = 0x23,
    MaximumQos = 0x24,
    RetainAvailable = 0x25,
    UserProperty = 0x26,
    MaximumPacketSize = 0x27,
    WildcardSubscriptionAvailable = 0x28,
    SubscriptionIdentifierAvailable = 0x29,
    SharedSubscriptionAvailable = 0x2a,
}

/// Data type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Byte,
    TwoBytes,
    FourBytes,
    Variable,
    Text,
    Binary,
    Pair,
}

/// Which values are legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Legal {
    Any,
    /// 0 or 1.
    Logical,
    NotZero,
    /// A topic name.
    Topic,
}

/// A row of the table.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) property: Property,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) places: Places,
    /// Where it may stand more than once.
    pub(super) repeatable: Places,
    pub(super) legal: Legal,
}

const fn rule(
    property: Property,
    name: &'static str,
    kind: Kind,
    legal: Legal,
    places: Places,
) -> Rule {
    Rule { property, name, kind, places, repeatable: 0, legal }
}

const fn repeatable(rule: Rule, repeatable: Places) -> Rule {
    Rule { repeatable, ..rule }
}

/// The table.
pub(super) const RULES: [Rule; 27] = {
    use Kind::{Binary, Byte, FourBytes, Pair, Text, TwoBytes, Variable};
    use Legal::{Any, Logical, NotZero, Topic};
    use Property as P;
    const EXPIRY: Places = CONNECT | CONNACK | OUR_DISCONNECT;
    const AUTHENTICATION: Places = CONNECT | CONNACK | AUTH;
    const REFERENCE: Places = CONNACK | DISCONNECT;
    const LIMITS: Places = CONNECT | CONNACK;
    const IDENTIFIER: Places = PUBLISH | SUBSCRIBE;
    const ALIAS: Places = PUBLISH | OUR_PUBLISH;
    [
        rule(P::PayloadFormatIndicator, "Payload Format Indicator", Byte, Logical, MESSAGES),
        rule(P::MessageExpiryInterval, "Message Expiry Interval", FourBytes, Any, MESSAGES),
        rule(P::ContentType, "Content Type", Text, Any, MESSAGES),
        rule(P::ResponseTopic, "Response Topic", Text, Topic, MESSAGES),
        rule(P::CorrelationData, "Correlation Data", Binary, Any, MESSAGES),
        repeatable(
            rule(
                P::SubscriptionIdentifier,
                "Subscription Identifier",
                Variable,
                NotZero,
                IDENTIFIER,
            ),
            PUBLISH,
        ),
        rule(P::SessionExpiryInterval, "Session Expiry Interval", FourBytes, Any, EXPIRY),
        rule(P::AssignedClientIdentifier, "Assigned Client Identifier", Text, Any, CONNACK),
        rule(P::ServerKeepAlive, "Server Keep Alive", TwoBytes, Any, CONNACK),
        rule(P::AuthenticationMethod, "Authentication Method", Text, Any, AUTHENTICATION),
        rule(P::AuthenticationData, "Authentication Data", Binary, Any, AUTHENTICATION),
        rule(P::RequestProblemInformation, "Request Problem Information", Byte, Logical, CONNECT),
        rule(P::WillDelayInterval, "Will Delay Interval", FourBytes, Any, WILL),
        rule(P::RequestResponseInformation, "Request Response Information", Byte, Logical, CONNECT),
        rule(P::ResponseInformation, "Response Information", Text, Any, CONNACK),
        rule(P::ServerReference, "Server Reference", Text, Any, REFERENCE),
        rule(P::ReasonString, "Reason String", Text, Any, ANSWERS | OUR_DISCONNECT),
        rule(P::ReceiveMaximum, "Receive Maximum", TwoBytes, NotZero, LIMITS),
        rule(P::TopicAliasMaximum, "Topic Alias Maximum", TwoBytes, Any, LIMITS),
        // 0 has a reason code of its own, so it is looked at elsewhere.
        rule(P::TopicAlias, "Topic Alias", TwoBytes, Any, ALIAS),
        rule(P::MaximumQos, "Maximum QoS", Byte, Logical, CONNACK),
        rule(P::RetainAvailable, "Retain Available", Byte, Logical, CONNACK),
        repeatable(rule(P::UserProperty, "User Property", Pair, Any, ALL), ALL),
        rule(P::MaximumPacketSize, "Maximum Packet Size", FourBytes, NotZero, LIMITS),
        rule(
            P::WildcardSubscriptionAvailable,
            "Wildcard Subscription Available",
            Byte,
            Logical,
            CONNACK,
        ),
        rule(
            P::SubscriptionIdentifierAvailable,
            "Subscription Identifier Available",
            Byte,
            Logical,
            CONNACK,
        ),
        rule(
            P::SharedSubscriptionAvailable,
            "Shared Subscription Available",
            Byte,
            Logical,
            CONNACK,
        ),
    ]
};

/// The value of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u32),
    Text(&'a str),
    Binary(&'a [u8]),
    Pair(&'a str, &'a str),
}

impl<'a> Value<'a> {
    /// Of a property that is a number, a byte included.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Number(number) => number,
            _ => 0,
        }
    }

    /// Of a property that is one or the other.
    pub(super) fn logical(self) -> bool {
        self.number() == 1
    }

    /// Of a property that is a text.
    pub(super) fn text(self) -> &'a str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }

    /// Of a property that is binary.
    pub(super) fn binary(self) -> &'a [u8] {
        match self {
            Self::Binary(bytes) => bytes,
            _ => &[],
        }
    }

    /// Of a property that is a pair.
    pub(super) fn pair(self) -> (String, String) {
        match self {
            Self::Pair(name, value) => (name.to_owned(), value.to_owned()),
            _ => (String::new(), String::new()),
        }
    }
}

/// The properties of a packet, one after the other, each checked against the table.
#[derive(Debug)]
pub(super) struct Properties<'a> {
    place: Places,
    reader: Reader<'a>,
    /// Identifiers that have occurred, one bit each.
    seen: u64,
}

impl<'a> Properties<'a> {
    /// Properties without their length.
    pub(super) fn new(packet: &'static str, place: Places, bytes: &'a [u8]) -> Self {
        Self { place, reader: Reader::new(packet, bytes), seen: 0 }
    }

    /// Takes the length and the properties off a body.
    pub(super) fn read(place: Places, body: &mut Reader<'a>) -> Result<Self, Fault> {
        let packet = body.packet();
        Ok(Self::new(packet, place, body.part("properties")?))
    }

    /// The next one; `None`: there is none.
    pub(super) fn next(&mut self) -> Result<Option<(Property, Value<'a>)>, Fault> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let packet = self.reader.packet();
        let identifier = self.reader.variable("property identifier")?;
        let found = RULES.iter().find(|rule| rule.property as u32 == identifier);
        let Some(rule) = found.filter(|rule| rule.places & self.place != 0) else {
            let name = found.map_or("", |rule| rule.name);
            let what = format!("it has the property 0x{identifier:02x} {name}");
            return Err(self.reader.malformed(what.trim_end()));
        };
        let bit = 1u64 << identifier;
        if self.seen & bit != 0 && rule.repeatable & self.place == 0 {
            return Err(Fault::violation(format!("its {packet} has two of {}", rule.name)));
        }
        self.seen |= bit;
        let value = self.value(rule)?;
        let why = match (rule.legal, value) {
            (Legal::Logical, Value::Number(number)) if number > 1 => "neither 0 nor 1",
            (Legal::NotZero, Value::Number(0)) => "0",
            (Legal::Topic, Value::Text(text)) if crate::topic::check_name(text).is_err() => {
                "no topic name"
            }
            _ => return Ok(Some((rule.property, value))),
        };
        Err(Fault::violation(format!("{} of its {packet} is {why}", rule.name)))
    }

    fn value(&mut self, rule: &Rule) -> Result<Value<'a>, Fault> {
        let reader = &mut self.reader;
        Ok(match rule.kind {
            Kind::Byte => Value::Number(reader.byte(rule.name)?.into()),
            Kind::TwoBytes => Value::Number(reader.two_bytes(rule.name)?.into()),
            Kind::FourBytes => Value::Number(reader.four_bytes(rule.name)?),
            Kind::Variable => Value::Number(reader.variable(rule.name)?),
            Kind::Text => Value::Text(reader.text(rule.name)?),
            Kind::Binary => Value::Binary(reader.binary(rule.name)?),
            Kind::Pair => Value::Pair(reader.text(rule.name)?, reader.text(rule.name)?),
        })
    }
}
