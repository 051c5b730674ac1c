//! PURE: requests as they come in, answers and notifications as they go out.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::iotag::{Reason, TagValue, Timestamp, Value};

/// Longest request in bytes, with its line end.
pub const REQUEST_BYTES_MAX: usize = 16 << 20;

/// An error as JSON-RPC 2.0 has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RpcError {
    /// Code; the contract lists them.
    pub code: i32,
    /// In words.
    pub message: String,
    /// What a program may need.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
}

impl RpcError {
    /// The request is no JSON.
    pub const PARSE: i32 = -32700;
    /// The request is no JSON-RPC 2.0 request.
    pub const INVALID_REQUEST: i32 = -32600;
    /// There is no such method.
    pub const NO_SUCH_METHOD: i32 = -32601;
    /// The parameters do not fit.
    pub const INVALID_PARAMS: i32 = -32602;
    /// Something failed here.
    pub const INTERNAL: i32 = -32603;
    /// There is no such tag.
    pub const NO_SUCH_TAG: i32 = -32001;
    /// Too much at once.
    pub const BUSY: i32 = -32005;
    /// The configuration on disk has mistakes.
    pub const CONFIGURATION: i32 = -32020;
    /// No queued write has this number, or it ended over a day ago.
    pub const NO_SUCH_WRITE: i32 = -32007;
    /// The journal does not reach back to the token.
    pub const TOKEN_TOO_OLD: i32 = -32010;

    /// An error without data.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }
}

/// A request of a client.
#[derive(Debug)]
pub struct Request {
    /// Given back with the answer; `None`: a notification, which has none.
    pub id: Option<Box<RawValue>>,
    /// What is asked for.
    pub call: Result<Call, RpcError>,
}

/// A method and its parameters.
#[derive(Debug)]
pub enum Call {
    /// `tag.read`.
    Read(ReadParams),
    /// `tag.browse`.
    Browse(BrowseParams),
    /// `tag.write`.
    Write(WriteParams),
    /// `tag.explain`.
    Explain(ExplainParams),
    /// `tag.subscribe`.
    Subscribe(SubscribeParams),
    /// `tag.unsubscribe`.
    Unsubscribe(UnsubscribeParams),
    /// `write.status`.
    WriteStatus(WriteStatusParams),
    /// `line.list`.
    LineList,
    /// `station.list`.
    StationList,
    /// `station.set`.
    StationSet(StationSetParams),
    /// `process.status`.
    ProcessStatus,
    /// `config.reload`.
    Reload,
    /// `config.check`.
    ConfigCheck,
    /// `message.tap`.
    Tap(TapParams),
    /// `message.untap`.
    Untap(UnsubscribeParams),
}

/// Parameters of `message.tap`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TapParams {
    /// Messages of this line only.
    pub line: Option<String>,
    /// Messages that this station takes only.
    pub station: Option<String>,
    /// Messages that this topic filter matches only.
    pub topic: Option<String>,
}

/// Parameters of `tag.read`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadParams {
    /// Names; `*` and `?` are wildcards.
    pub names: Vec<String>,
}

/// Parameters of `tag.browse`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrowseParams {
    /// Names; `*` and `?` are wildcards.
    pub pattern: Option<String>,
    /// Tags of this line only.
    pub line: Option<String>,
    /// Tags of this station only.
    pub station: Option<String>,
    /// At most so many.
    pub limit: Option<usize>,
    /// Continue after this name (the `next` of the page before).
    pub after: Option<String>,
}

/// Parameters of `tag.write`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteParams {
    /// What to write.
    pub writes: Vec<WriteParam>,
    /// How long the outcome is waited for, in seconds.
    #[serde(default = "default_timeout_s")]
    pub timeout_s: f64,
}

fn default_timeout_s() -> f64 {
    10.0
}

/// One tag to be written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteParam {
    /// Name of the tag.
    pub name: String,
    /// New value.
    pub value: serde_json::Value,
}

/// Parameters of `write.status`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteStatusParams {
    /// Numbers of queued writes.
    pub writes: Vec<u64>,
}

/// Parameters of `tag.explain`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainParams {
    /// Name of the tag.
    pub name: String,
}

/// Parameters of `tag.subscribe`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscribeParams {
    /// Names; `*` and `?` are wildcards.
    pub names: Vec<String>,
    /// Where to begin.
    #[serde(default)]
    pub after: After,
}

/// Where a subscription begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum After {
    /// `null`: the current values, then changes.
    #[default]
    Now,
    /// `"oldest"`: everything that the journal has.
    Oldest,
    /// A token: every change since.
    Token(u64),
}

impl<'de> Deserialize<'de> for After {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected =
            || serde::de::Error::custom("`after` is null, \"oldest\" or a token of this process");
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Null => Ok(Self::Now),
            serde_json::Value::String(text) if text == "oldest" => Ok(Self::Oldest),
            serde_json::Value::String(text) => {
                text.parse().map(Self::Token).map_err(|_| expected())
            }
            serde_json::Value::Number(number) => {
                number.as_u64().map(Self::Token).ok_or_else(expected)
            }
            _ => Err(expected()),
        }
    }
}

/// Parameters of `tag.unsubscribe`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnsubscribeParams {
    /// Number of the subscription.
    pub subscription: u64,
}

/// Parameters of `station.set`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StationSetParams {
    /// Name of the station.
    pub name: String,
    /// `on`, `off` or `simulate`.
    pub mode: String,
}

#[derive(Deserialize)]
struct Envelope {
    jsonrpc: String,
    #[serde(default, deserialize_with = "present")]
    id: Option<Box<RawValue>>,
    method: String,
    params: Option<Box<RawValue>>,
}

/// `"id": null` is an id, an absent one is a notification.
fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// Reads one line. The error is answered with `id` null: it could not be read.
pub fn parse_request(line: &[u8]) -> Result<Request, RpcError> {
    let envelope: Envelope = match serde_json::from_slice(line) {
        Ok(envelope) => envelope,
        Err(error) if error.is_data() => {
            // What follows the place that does not fit may be no JSON.
            if let Err(error) = serde_json::from_slice::<IgnoredAny>(line) {
                return Err(not_json(&error));
            }
            return refused(id_of(line), format!("not a JSON-RPC 2.0 request object: {error}"));
        }
        Err(error) => return Err(not_json(&error)),
    };
    // serde would take an array for the object.
    if !is_object(line) {
        return refused(None, "not an object; batches are not part of this protocol");
    }
    if envelope.jsonrpc != "2.0" {
        return refused(envelope.id, "`jsonrpc` is not \"2.0\"");
    }
    if envelope.id.as_deref().is_some_and(|id| !is_id(id)) {
        return refused(None, "`id` is neither a string nor a number nor null");
    }
    let call = parse_call(&envelope.method, envelope.params.as_deref());
    Ok(Request { id: envelope.id, call })
}

fn not_json(error: &serde_json::Error) -> RpcError {
    RpcError::new(RpcError::PARSE, format!("not JSON: {error}"))
}

/// An answer to what is no request, also when it has no `id`.
fn refused(id: Option<Box<RawValue>>, why: impl Into<String>) -> Result<Request, RpcError> {
    let error = RpcError::new(RpcError::INVALID_REQUEST, why);
    match id.filter(|id| is_id(id)) {
        Some(id) => Ok(Request { id: Some(id), call: Err(error) }),
        None => Err(error),
    }
}

/// The `id` of an object that is no request.
fn id_of(line: &[u8]) -> Option<Box<RawValue>> {
    #[derive(Deserialize)]
    struct Identified {
        id: Box<RawValue>,
    }
    let found = is_object(line).then(|| serde_json::from_slice::<Identified>(line))?;
    found.ok().map(|found| found.id)
}

fn is_object(json: &[u8]) -> bool {
    json.trim_ascii_start().starts_with(b"{")
}

fn is_id(id: &RawValue) -> bool {
    !id.get().starts_with(['{', '[', 't', 'f'])
}

fn parse_call(method: &str, params: Option<&RawValue>) -> Result<Call, RpcError> {
    match method {
        "tag.read" => parse_params(method, params).map(Call::Read),
        "tag.browse" => parse_params(method, params).map(Call::Browse),
        "tag.write" => parse_params(method, params).map(Call::Write),
        "tag.subscribe" => parse_params(method, params).map(Call::Subscribe),
        "tag.unsubscribe" => parse_params(method, params).map(Call::Unsubscribe),
        "line.list" => without_params(method, params, Call::LineList),
        "station.list" => without_params(method, params, Call::StationList),
        "process.status" => without_params(method, params, Call::ProcessStatus),
        "station.set" => parse_params(method, params).map(Call::StationSet),
        "tag.explain" => parse_params(method, params).map(Call::Explain),
        "config.reload" => without_params(method, params, Call::Reload),
        "config.check" => without_params(method, params, Call::ConfigCheck),
        "message.tap" => parse_params(method, params).map(Call::Tap),
        "message.untap" => parse_params(method, params).map(Call::Untap),
        "write.status" => parse_params(method, params).map(Call::WriteStatus),
        _ => Err(RpcError::new(RpcError::NO_SUCH_METHOD, format!("there is no method `{method}`"))),
    }
}

fn without_params(method: &str, params: Option<&RawValue>, call: Call) -> Result<Call, RpcError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    parse_params::<Nothing>(method, params).map(|Nothing {}| call)
}

fn parse_params<T: DeserializeOwned>(
    method: &str,
    params: Option<&RawValue>,
) -> Result<T, RpcError> {
    let text = match params.map(RawValue::get) {
        None | Some("null") => "{}",
        // Many clients write an empty list where there is nothing to say.
        Some(text) if text.strip_prefix('[').is_some_and(|rest| rest.trim_ascii() == "]") => "{}",
        Some(text) => text,
    };
    // serde would take an array for the object.
    if text.starts_with('[') {
        let why = format!("parameters of `{method}`: they have names, so write an object");
        return Err(RpcError::new(RpcError::INVALID_PARAMS, why));
    }
    serde_json::from_str(text).map_err(|error| {
        RpcError::new(RpcError::INVALID_PARAMS, format!("parameters of `{method}`: {error}"))
    })
}

/// An answer as one line.
pub fn answer(id: Option<&RawValue>, result: Result<impl Serialize, RpcError>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Answer<'a, T> {
        jsonrpc: &'static str,
        id: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<T>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<RpcError>,
    }
    let (result, error) = match result {
        Ok(result) => (Some(result), None),
        Err(error) => (None, Some(error)),
    };
    to_line(&Answer { jsonrpc: "2.0", id, result, error })
}

/// A notification as one line.
pub fn notification(method: &str, params: impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Notification<'a, T> {
        jsonrpc: &'static str,
        method: &'a str,
        params: T,
    }
    to_line(&Notification { jsonrpc: "2.0", method, params })
}

fn to_line(object: &impl Serialize) -> Vec<u8> {
    // Everything that is sent has string keys and finite numbers, so this cannot fail.
    let mut line = serde_json::to_vec(object).unwrap_or_default();
    line.push(b'\n');
    line
}

/// A token as the socket shows it.
pub fn token(seq: u64) -> String {
    seq.to_string()
}

/// Value, time, quality, as the socket shows them.
#[derive(Clone, Copy, Debug)]
pub struct Vtq<'a> {
    /// Name of the tag.
    pub name: &'a str,
    /// Number of the change; 0: there was none.
    pub seq: u64,
    /// The value.
    pub value: &'a TagValue,
}

impl Serialize for Vtq<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A tag that nothing has happened to has no times.
        let never = match self.value.reason {
            Reason::NeverReceived => true,
            // What is wrong with a station has no time of its own.
            Reason::LineDown
            | Reason::StationOff
            | Reason::StationWill
            | Reason::CommError
            | Reason::Stale => self.value.value.is_none(),
            _ => false,
        };
        let time = |time: Timestamp| (!never).then(|| time.to_string());
        let mut map = serializer.serialize_map(Some(7))?;
        map.serialize_entry("name", self.name)?;
        map.serialize_entry("value", &self.value.value.as_ref().map(JsonValue))?;
        map.serialize_entry("quality", self.value.quality.as_str())?;
        map.serialize_entry("reason", self.value.reason.as_str())?;
        map.serialize_entry("time", &time(self.value.time))?;
        map.serialize_entry("received", &time(self.value.received))?;
        map.serialize_entry("seq", &self.seq)?;
        map.end()
    }
}

/// A typed value as the socket shows it.
#[derive(Clone, Copy, Debug)]
pub struct JsonValue<'a>(pub &'a Value);

impl Serialize for JsonValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Real(real) => serializer.serialize_f64(*real),
            Value::Integer(integer) => serializer.serialize_i128(*integer),
            Value::Logical(logical) => serializer.serialize_bool(*logical),
            Value::FourState(state) => serializer.serialize_str(state.as_str()),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Interval(seconds) => serializer.serialize_f64(*seconds),
            Value::Moment(moment) => serializer.collect_str(moment),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(line: &str) -> (Option<String>, i32, String) {
        match parse_request(line.as_bytes()) {
            Err(error) => (None, error.code, error.message),
            Ok(request) => {
                let error = request.call.unwrap_err();
                (request.id.map(|id| id.get().to_owned()), error.code, error.message)
            }
        }
    }

    #[test]
    fn requests_are_read() {
        let line =
            br#"{"jsonrpc":"2.0","id":"x","method":"tag.read","params":{"names":["a","p*"]}}"#;
        let request = parse_request(line).unwrap();
        assert_eq!(request.id.unwrap().get(), "\"x\"");
        let Ok(Call::Read(params)) = request.call else { panic!("expected a read") };
        assert_eq!(params.names, ["a", "p*"]);
        let line = br#"{"jsonrpc":"2.0","id":1,"method":"tag.subscribe","params":{"names":[],"after":"7"}}"#;
        let Ok(Call::Subscribe(params)) = parse_request(line).unwrap().call else { panic!() };
        assert_eq!(params.after, After::Token(7));
    }

    #[test]
    fn mistakes_have_the_codes_of_json_rpc() {
        assert_eq!(error_of("{").1, RpcError::PARSE);
        assert_eq!(error_of("\u{1}").1, RpcError::PARSE);
        assert_eq!(error_of("[]").1, RpcError::INVALID_REQUEST);
        let array = r#"["2.0",1,"tag.read",{"names":[]}]"#;
        assert_eq!(error_of(array).1, RpcError::INVALID_REQUEST);
        let null_id = parse_request(br#"{"jsonrpc":"2.0","id":null,"method":"line.list"}"#);
        assert_eq!(null_id.unwrap().id.unwrap().get(), "null");
        assert_eq!(error_of(r#"{"jsonrpc":"1.0","method":"x"}"#).1, RpcError::INVALID_REQUEST);
        assert_eq!(
            error_of(r#"{"jsonrpc":"2.0","id":{},"method":"x"}"#).1,
            RpcError::INVALID_REQUEST
        );
        let (id, code, message) = error_of(r#"{"jsonrpc":"2.0","id":3,"method":"tag.raed"}"#);
        assert_eq!((id.as_deref(), code), (Some("3"), RpcError::NO_SUCH_METHOD));
        assert!(message.contains("tag.raed"));
        let (_, code, message) =
            error_of(r#"{"jsonrpc":"2.0","id":3,"method":"tag.read","params":{"name":"a"}}"#);
        assert_eq!(code, RpcError::INVALID_PARAMS);
        assert!(message.contains("unknown field `name`"), "{message}");
    }

    #[test]
    fn what_is_no_request_is_answered_under_its_id_where_that_can_be_read() {
        for (line, id) in [
            (r#"{"jsonrpc":"2.0","id":3}"#, Some("3")),
            (r#"{"jsonrpc":"2.0","method":7,"id":"x"}"#, Some("\"x\"")),
            (r#"{"id":3,"method":"line.list"}"#, Some("3")),
            (r#"{"jsonrpc":"1.0","id":3,"method":"line.list"}"#, Some("3")),
            (r#"{"jsonrpc":"2.0","id":[3],"method":7}"#, None),
            (r#"{"jsonrpc":"2.0","id":3,"id":4,"method":"line.list"}"#, None),
            (r#"{"jsonrpc":"2.0","method":7}"#, None),
            (r#"[{"jsonrpc":"2.0","id":3,"method":"line.list"}]"#, None),
        ] {
            let (found, code, _) = error_of(line);
            assert_eq!((found.as_deref(), code), (id, RpcError::INVALID_REQUEST), "{line}");
        }
        for line in [r#"[{"jsonrpc":"2.0"},{"#, r#"{"jsonrpc":2,"#, &"[".repeat(100_000)] {
            let (id, code, _) = error_of(line);
            assert_eq!((id, code), (None, RpcError::PARSE));
        }
    }

    #[test]
    fn parameters_have_names_that_the_method_knows() {
        let call = |method: &str, params: &str| {
            let line =
                format!(r#"{{"jsonrpc":"2.0","id":3,"method":"{method}","params":{params}}}"#);
            parse_request(line.as_bytes()).unwrap().call.map(drop).map_err(|error| error.code)
        };
        for method in
            ["line.list", "station.list", "process.status", "config.reload", "config.check"]
        {
            for nothing in ["null", "{}", "[]", "[ ]"] {
                assert_eq!(call(method, nothing), Ok(()), "{method} {nothing}");
            }
            for wrong in [r#"{"apply":false}"#, "[1]", "7", r#""x""#] {
                assert_eq!(call(method, wrong), Err(RpcError::INVALID_PARAMS), "{method} {wrong}");
            }
        }
        assert_eq!(call("tag.browse", "[]"), Ok(()));
        assert_eq!(call("tag.read", r#"[["a"]]"#), Err(RpcError::INVALID_PARAMS));
        assert_eq!(call("station.set", r#"["pump","off"]"#), Err(RpcError::INVALID_PARAMS));
    }

    #[test]
    fn values_are_shown_as_their_type_says() {
        let show = |value: Value| serde_json::to_string(&JsonValue(&value)).unwrap();
        assert_eq!(show(Value::Real(20.0)), "20.0");
        assert_eq!(show(Value::Integer(i128::from(u64::MAX))), "18446744073709551615");
        assert_eq!(show(Value::Integer(i128::from(i64::MIN))), "-9223372036854775808");
        assert_eq!(show(Value::Logical(true)), "true");
        assert_eq!(show(Value::FourState(crate::iotag::FourState::Trans)), "\"trans\"");
        assert_eq!(show(Value::Moment(Timestamp::UNIX_EPOCH)), "\"1970-01-01T00:00:00Z\"");
    }
}
