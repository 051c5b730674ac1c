//! The keys that exist, section by section.

/// A table of a configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SectionKind {
    /// The top of `tagline.toml`.
    Top,
    Process,
    Socket,
    Journal,
    Line,
    /// `reconnect` of a line.
    Reconnect,
    /// `will` of a line.
    Will,
    /// `user_name` of a line, as a table.
    UserName,
    /// `password` of a line, as a table.
    Password,
    /// `jwt` of a password.
    Jwt,
    /// `tls` of a line.
    Tls,
    /// `key_passphrase`, as a table.
    KeyPassphrase,
    /// The top of a station file.
    StationFile,
    Station,
    /// The top of a tag file.
    TagFile,
    Tag,
}

impl SectionKind {
    pub(super) const ALL: [Self; 16] = [
        Self::Top,
        Self::Process,
        Self::Socket,
        Self::Journal,
        Self::Line,
        Self::Reconnect,
        Self::Will,
        Self::UserName,
        Self::Password,
        Self::Jwt,
        Self::Tls,
        Self::KeyPassphrase,
        Self::StationFile,
        Self::Station,
        Self::TagFile,
        Self::Tag,
    ];

    /// How the user names it.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Top => "`tagline.toml`",
            Self::Process => "`[process]`",
            Self::Socket => "`[socket]`",
            Self::Journal => "`[journal]`",
            Self::Line => "`[[line]]`",
            Self::Reconnect => "`reconnect`",
            Self::Will => "`will`",
            Self::UserName => "`user_name`",
            Self::Password => "`password`",
            Self::Jwt => "`jwt`",
            Self::Tls => "`tls`",
            Self::KeyPassphrase => "`key_passphrase`",
            Self::StationFile => "a station file",
            Self::Station => "`[[station]]`",
            Self::TagFile => "a tag file",
            Self::Tag => "`[[tag]]`",
        }
    }

    /// The keys that work; those that do not yet are in [`super::unsupported`].
    pub(super) fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Top => &["process", "socket", "journal", "line"],
            Self::Process => &["name", "data_dir", "stations", "tags", "log"],
            Self::Socket => &["path", "mode"],
            Self::Journal => &["max_entries", "max_age"],
            Self::Line => &[
                "name",
                "servers",
                "redundant_servers",
                "redundant_client_id",
                "duplicate_window",
                "mqtt_version",
                "client_id",
                "clean_session",
                "user_name",
                "password",
                "tls",
                "topic_filter",
                "subscribe_qos",
                "publish_qos",
                "publish_retain",
                "publish_in_flight",
                "keep_alive",
                "ping_interval",
                "reply_timeout",
                "reconnect",
                "payload_type",
                "time_field_name",
                "time_mask",
                "time_zone",
                "ignore_missing_time",
                "will",
                "maximum_packet_size",
                "session_expiry",
                "receive_maximum",
                "topic_alias_maximum",
                "user_properties",
                "no_local",
                "retain_as_published",
                "retain_handling",
                "authentication_method",
                "full_debug",
            ],
            Self::Reconnect => &["min", "max"],
            Self::Will => &["topic", "message", "qos", "retain", "delay", "content_type"],
            Self::UserName | Self::KeyPassphrase => &["env", "file", "command"],
            Self::Password => &["env", "file", "command", "jwt", "lifetime"],
            Self::Jwt => &[
                "key_file",
                "key_passphrase",
                "algorithm",
                "lifetime",
                "audience",
                "issuer",
                "subject",
                "claims",
            ],
            Self::Tls => &[
                "ca_file",
                "cert_file",
                "key_file",
                "key_passphrase",
                "server_name",
                "min_version",
                "alpn",
                "insecure_skip_verify",
            ],
            Self::StationFile => &["line", "station"],
            Self::Station => &[
                "name",
                "line",
                "address",
                "payload_type",
                "time_field_name",
                "time_mask",
                "time_zone",
                "ignore_missing_time",
                "csv_delimiter",
                "csv_header",
                "envelope_payload",
                "envelope_encoding",
                "max_age",
                "will_topic",
                "will_payload",
                "error_delay",
                "stale_after",
                "subscribe_address",
                "on_missing",
                "out_topic",
                "publish_every",
                "publish_on_write",
                "publish_qos",
                "publish_retain",
                "publish_content_type",
                "write_when_offline",
                "write_expiry",
            ],
            Self::TagFile => &["tag"],
            Self::Tag => &[
                "name",
                "station",
                "type",
                "address",
                "description",
                "unit",
                "scale",
                "offset",
                "deadband",
                "min",
                "max",
                "initial",
                "on_text",
                "off_text",
                "when",
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::raw_tag::TagKey;
    use crate::config::unsupported;

    const MANUAL: &str = include_str!("../../docs/configuration.md");

    /// Parts of the manual by their headings.
    fn parts() -> (&'static str, &'static str) {
        MANUAL.split_once("\n## Not supported yet").expect("the manual says what is missing")
    }

    #[test]
    fn the_manual_has_every_key_that_works() {
        let (works, missing) = parts();
        for section in SectionKind::ALL {
            for key in section.keys() {
                let named = [format!("`{key}`"), format!("[{key}]"), format!("{key} =")];
                assert!(named.iter().any(|name| works.contains(name)), "{section:?} {key}");
                assert!(unsupported::find(section, key).is_none(), "{section:?} {key}");
            }
        }
        assert!(!missing.is_empty());
    }

    #[test]
    fn the_manual_has_everything_that_does_not_work_yet() {
        let (_, missing) = parts();
        let keys = unsupported::ROWS.iter().map(|row| row.key);
        for word in keys {
            assert!(missing.contains(word), "{word}");
        }
    }

    #[test]
    fn the_keys_of_a_tag_are_in_one_order() {
        assert_eq!(TagKey::ALL.len(), SectionKind::Tag.keys().len());
        assert_eq!(TagKey::Station.as_str(), "station");
        assert_eq!(TagKey::Scale.as_str(), "scale");
        assert_eq!(TagKey::Initial.as_str(), "initial");
        assert_eq!(TagKey::OffText.as_str(), "off_text");
        assert_eq!(TagKey::When.as_str(), "when");
    }
}
