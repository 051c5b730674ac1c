//! Where in a payload the time is: `time_field_name`. Contract, sections 1 and 7.

use std::sync::Arc;

use super::json_address::JsonAddress;
use super::xml_address::XmlAddress;
use super::{PayloadType, SyntaxError};

/// A place for the time: a JSON address, an XML path, or a CSV column, by the payload's type. A line
/// gives one to stations of all types, so all readings are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeField {
    text: Arc<str>,
    json: Result<JsonAddress, SyntaxError>,
    xml: Result<XmlAddress, SyntaxError>,
}

impl TimeField {
    /// Takes a text that is not empty; [`Self::check`] says whether it fits a type of payload.
    pub fn new(text: &str) -> Self {
        Self { text: text.into(), json: JsonAddress::parse(text), xml: XmlAddress::parse(text) }
    }

    /// Whether payloads of this type can have such a place.
    pub fn check(&self, payload_type: PayloadType) -> Result<(), SyntaxError> {
        match payload_type {
            PayloadType::Json => self.json.as_ref().map(drop).map_err(SyntaxError::clone),
            PayloadType::Xml => self.xml.as_ref().map(drop).map_err(SyntaxError::clone),
            // A column may have any name; the others have no time field, or one of their own.
            PayloadType::Csv
            | PayloadType::Auto
            | PayloadType::Text
            | PayloadType::Influx
            | PayloadType::Bytes => Ok(()),
        }
    }

    /// In JSON documents.
    pub fn json(&self) -> Option<&JsonAddress> {
        self.json.as_ref().ok()
    }

    /// In XML documents.
    pub fn xml(&self) -> Option<&XmlAddress> {
        self.xml.as_ref().ok()
    }

    /// In CSV: a header name, or a number from 1 when there is no header.
    pub fn column(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_checked_for_the_type_of_payload() {
        let field = TimeField::new("/data/t");
        assert!(field.check(PayloadType::Xml).is_ok());
        assert!(field.check(PayloadType::Json).is_ok());
        let field = TimeField::new("values[0].t");
        assert_eq!(field.check(PayloadType::Json).unwrap_err().at, 7);
        assert!(field.check(PayloadType::Xml).is_err());
        assert!(field.check(PayloadType::Csv).is_ok());
        assert!(field.check(PayloadType::Text).is_ok());
    }
}
