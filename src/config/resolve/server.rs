//! Addresses of brokers: `mqtt://host:1883`, and the string form `host1,host2:1884;[::1]`.

use std::net::Ipv6Addr;

use crate::config::{Scheme, Server, suggest};
use crate::iotag::SyntaxError;

const SCHEMES: [Scheme; 4] = [Scheme::Tcp, Scheme::Tls, Scheme::WebSocket, Scheme::WebSocketTls];

/// What brokers answer to most often.
const WEB_PATH: &str = "/mqtt";

/// Reads the addresses of a text, separated by commas or semicolons.
///
/// No message quotes what stands before an `@`: it may be a password.
pub(super) fn parse_list(text: &str) -> Vec<Result<Server, SyntaxError>> {
    let mut start = 0;
    let mut servers = Vec::new();
    for part in text.split([',', ';']) {
        let blanks = part.len() - part.trim_start().len();
        let offset = start + blanks;
        servers.push(parse(part.trim()).map_err(|mut error| {
            error.at += offset;
            error
        }));
        start += part.len() + 1;
    }
    servers
}

/// Reads one address.
fn parse(text: &str) -> Result<Server, SyntaxError> {
    if text.is_empty() {
        return Err(SyntaxError::new(0, "expected the address of a server")
            .help("for example `mqtt://127.0.0.1:1883`"));
    }
    let (scheme, rest_at) = scheme(text)?;
    let rest = &text[rest_at..];
    if let Some(at) = rest.find('@') {
        return Err(SyntaxError::new(
            rest_at + at,
            "a server's address holds no user and password",
        )
        .help("use the keys `user_name` and `password`"));
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let path_at = rest_at + authority.len();
    let is_web = matches!(scheme, Scheme::WebSocket | Scheme::WebSocketTls);
    if !is_web && !matches!(path, "" | "/") {
        return Err(SyntaxError::new(path_at, "only `ws://` and `wss://` have a path"));
    }
    let (host, port) = split_port(authority).map_err(|mut error| {
        error.at += rest_at;
        error
    })?;
    let port = match port {
        None => scheme.default_port(),
        Some((at, digits)) => parse_port(digits)
            .ok_or_else(|| SyntaxError::new(rest_at + at, "a port is a number from 1 to 65535"))?,
    };
    let path = if is_web { web_path(path, path_at)? } else { String::new() };
    Ok(Server { scheme, host: host.to_owned(), port, path })
}

/// The path of a WebSocket with its query; `/mqtt` where none is written.
fn web_path(path: &str, at: usize) -> Result<String, SyntaxError> {
    // Whatever else there is, it goes into the first line of a request as it stands.
    let allowed =
        |character: char| character.is_ascii_graphic() && !"\"<>\\^`{|}".contains(character);
    if let Some(offset) = path.find('#') {
        return Err(SyntaxError::new(at + offset, "the address of a server has no fragment"));
    }
    match path.find(|character| !allowed(character)) {
        Some(offset) => Err(SyntaxError::new(at + offset, "this character cannot be in a path")
            .help("write it as `%` and two hexadecimal digits")),
        None if path.starts_with('/') => Ok(path.to_owned()),
        None => Ok(format!("{WEB_PATH}{path}")),
    }
}

/// The scheme, `mqtt` when there is none, and where the rest begins.
fn scheme(text: &str) -> Result<(Scheme, usize), SyntaxError> {
    let Some(end) = text.find("://") else { return Ok((Scheme::Tcp, 0)) };
    let word = text[..end].to_ascii_lowercase();
    match SCHEMES.into_iter().find(|scheme| scheme.as_str() == word) {
        Some(scheme) => Ok((scheme, end + 3)),
        None => {
            let likely = suggest::nearest(&word, SCHEMES.map(Scheme::as_str)).unwrap_or("mqtt");
            Err(SyntaxError::new(0, "unknown scheme, expected `mqtt`, `mqtts`, `ws` or `wss`")
                .help(format!("did you mean `{likely}://`?")))
        }
    }
}

/// Digits of a port, and their offset.
type PortDigits<'a> = (usize, &'a str);

/// Host without brackets, and the port.
fn split_port(authority: &str) -> Result<(&str, Option<PortDigits<'_>>), SyntaxError> {
    if let Some(inside) = authority.strip_prefix('[') {
        let (host, behind) = inside
            .split_once(']')
            .ok_or_else(|| SyntaxError::new(0, "this bracket is never closed"))?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err(SyntaxError::new(1, "expected an IPv6 address in brackets"));
        }
        let at = host.len() + 3;
        return match behind.strip_prefix(':') {
            Some(port) => Ok((host, Some((at, port)))),
            None if behind.is_empty() => Ok((host, None)),
            None => Err(SyntaxError::new(at - 1, "expected `:` and a port after the bracket")),
        };
    }
    if authority.matches(':').count() > 1 {
        return Err(SyntaxError::new(0, "an IPv6 address stands in brackets")
            .help("for example `mqtt://[::1]:1883`"));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some((host.len() + 1, port))),
        None => (authority, None),
    };
    if host.is_empty() {
        return Err(SyntaxError::new(0, "expected the name or IP address of a server"));
    }
    let allowed =
        |character: char| character.is_alphanumeric() || matches!(character, '.' | '-' | '_');
    match host.find(|character| !allowed(character)) {
        Some(at) => Err(SyntaxError::new(at, "this character cannot be in the name of a server")),
        None => Ok((host, port)),
    }
}

fn parse_port(digits: &str) -> Option<u16> {
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let read = |server: Result<Server, SyntaxError>| match server {
            Ok(server) => server.to_string(),
            Err(error) => format!("{}: {}", error.at, error.message),
        };
        parse_list(text).into_iter().map(read).collect()
    }

    #[test]
    fn addresses_are_urls_or_hosts() {
        assert_eq!(shown("mqtt://broker"), ["mqtt://broker:1883"]);
        assert_eq!(shown("MQTT://broker:1884/"), ["mqtt://broker:1884"]);
        assert_eq!(shown("mqtt://[fe80::1]:1884"), ["mqtt://[fe80::1]:1884"]);
        assert_eq!(shown("[::1]"), ["mqtt://[::1]:1883"]);
        assert_eq!(shown("mqtts://broker"), ["mqtts://broker:8883"]);
        assert_eq!(shown("ws://broker"), ["ws://broker:80/mqtt"]);
        assert_eq!(shown("ws://broker/"), ["ws://broker:80/"]);
        assert_eq!(shown("wss://[::1]/a/b"), ["wss://[::1]:443/a/b"]);
        assert_eq!(shown("wss://broker:9001?token=hunter2"), ["wss://broker:9001/mqtt?…"]);
        assert_eq!(
            shown("10.0.0.1, plant-b:1884 ;mqtt://c"),
            ["mqtt://10.0.0.1:1883", "mqtt://plant-b:1884", "mqtt://c:1883"]
        );
    }

    #[test]
    fn mistakes_have_their_place() {
        for (text, expected) in [
            ("", "0: expected the address of a server"),
            ("ws://a/b#c", "8: the address of a server has no fragment"),
            ("ws://a/b\"c", "8: this character cannot be in a path"),
            ("http://a", "0: unknown scheme, expected `mqtt`, `mqtts`, `ws` or `wss`"),
            ("mqtt://u:p@a", "10: a server's address holds no user and password"),
            ("mqtt://a/b", "8: only `ws://` and `wss://` have a path"),
            ("mqtt://a:0", "9: a port is a number from 1 to 65535"),
            ("mqtt://a:65536", "9: a port is a number from 1 to 65535"),
            ("mqtt://a:", "9: a port is a number from 1 to 65535"),
            ("mqtt://a:+80", "9: a port is a number from 1 to 65535"),
            ("mqtt://", "7: expected the name or IP address of a server"),
            ("mqtt://[::1", "7: this bracket is never closed"),
            ("mqtt://[zz]", "8: expected an IPv6 address in brackets"),
            ("mqtt://[::1]x", "12: expected `:` and a port after the bracket"),
            ("mqtt://[::1]:x", "13: a port is a number from 1 to 65535"),
            ("mqtt://::1", "7: an IPv6 address stands in brackets"),
            ("mqtt://a b", "8: this character cannot be in the name of a server"),
        ] {
            assert_eq!(shown(text), [expected], "{text}");
        }
        assert_eq!(shown("a,, b c")[1], "2: expected the address of a server");
        assert_eq!(shown("a,, b c")[2], "5: this character cannot be in the name of a server");
    }
}
