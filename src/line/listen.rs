//! Listens to a broker without a hub: `tagline discover`. Nothing is kept, here or at the broker.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use super::options::client_options;
use super::path::CLOSE_TIMEOUT;
use super::{link, sleep_until};
use crate::clock;
use crate::config::{Line, Server};
use crate::hub::status::PathId;
use crate::mqtt::{
    BytesProgress, Client, Command, Endpoint, Event, Input, Output, Session, Subscription,
};
use crate::transport::{Progress, Transport};

/// What is heard.
#[derive(Clone, Copy, Debug)]
pub enum Heard<'a> {
    /// Some time has passed.
    Tick,
    /// The line is connected.
    Up,
    /// A message.
    Message {
        /// Its topic.
        topic: &'a str,
        /// Its payload, as it came.
        payload: &'a [u8],
        /// MQTT 5.0 Content Type.
        content_type: Option<&'a str>,
    },
    /// The server refused this topic filter.
    Refused(&'a str),
    /// The connection is lost, or could not be made; another attempt follows.
    Down(&'a str),
}

/// How often time passes.
const TICK: Duration = Duration::from_millis(200);

/// Listens on a line until `stop`, or until `hear` gives an error. The line's own identity is used as
/// it stands in the configuration given, so its client id should be another one than the line's.
///
/// # Errors
///
/// What `hear` gave.
pub async fn listen(
    line: &Line,
    stop: impl Future<Output = ()>,
    mut hear: impl FnMut(Heard<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let subscription = |filter: &String| Subscription::new(filter.as_str(), line.subscribe_qos);
    let subscriptions: Vec<Subscription> = line.topic_filters.iter().map(subscription).collect();
    let mut client =
        Client::new(client_options(line, PathId::FIRST, &subscriptions), Session::default());
    let mut link: Option<Transport> = None;
    let (mut inbound, mut outbound) = (BytesMut::new(), VecDeque::new());
    client.handle_command(clock::now(), Command::Connect);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tokio::pin!(stop);
    loop {
        while let Some(output) = client.poll_output() {
            match output {
                Output::Connect { server } => {
                    (inbound, outbound) = (BytesMut::new(), VecDeque::new());
                    link = None;
                    let opened = tokio::select! {
                        () = &mut stop => return Ok(()),
                        opened = open(line, &server) => opened,
                    };
                    match opened {
                        Ok((transport, credentials)) => {
                            link = Some(transport);
                            client.handle_input(clock::now(), Input::Connected(credentials));
                        }
                        Err(why) => client.handle_input(clock::now(), Input::ConnectFailed(why)),
                    }
                }
                Output::Transmit(bytes) => outbound.push_back(bytes),
                Output::Close => link = None,
                Output::Event(event) => on_event(&mut client, event, &mut hear)?,
            }
        }
        let wake = client.deadline();
        let event = async {
            match &mut link {
                Some(transport) => transport.io(&mut outbound, &mut inbound, true).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = &mut stop => break,
            progress = event => match progress {
                Ok(Progress::Wrote(count)) => {
                    client.handle_input(clock::now(), Input::Transmitted(count));
                }
                Ok(Progress::Read(_)) => {
                    while client.handle_bytes(clock::now(), &mut inbound) == BytesProgress::More {}
                }
                Ok(Progress::PeerClosed) => {
                    let hint = link.as_ref().and_then(Transport::closed_hint).unwrap_or_default();
                    link = None;
                    let why = format!("the server closed the connection {hint}");
                    client.handle_input(clock::now(), Input::Closed(why.trim_end().to_owned()));
                }
                Err(error) => {
                    link = None;
                    let why = format!("the connection broke: {error}");
                    client.handle_input(clock::now(), Input::Closed(why));
                }
            },
            _ = ticks.tick() => hear(Heard::Tick)?,
            () = sleep_until(wake) => client.handle_input(clock::now(), Input::Timeout),
        }
    }
    leave(&mut client, link, outbound).await;
    Ok(())
}

/// Takes leave in order, so that no will is published.
async fn leave(client: &mut Client, link: Option<Transport>, mut outbound: VecDeque<bytes::Bytes>) {
    let Some(transport) = link else { return };
    client.handle_command(clock::now(), Command::Disconnect);
    while let Some(output) = client.poll_output() {
        if let Output::Transmit(bytes) = output {
            outbound.push_back(bytes);
        }
    }
    link::take_leave((transport, outbound, clock::now() + CLOSE_TIMEOUT)).await;
}

async fn open(
    line: &Line,
    endpoint: &Endpoint,
) -> Result<(Transport, crate::mqtt::Credentials), String> {
    let server = match endpoint {
        Endpoint::Listed(position) => line.servers.get(*position).cloned(),
        Endpoint::Referred(referred) => line.servers.get(referred.by).map(|by| {
            let port = referred.port.unwrap_or(by.scheme.default_port());
            Server { host: referred.host.clone(), port, ..by.clone() }
        }),
    };
    let Some(server) = server else { return Err("there is no server".to_owned()) };
    let (transport, fresh) = link::open(None, Arc::new(line.clone()), server).await?;
    Ok((transport, fresh.credentials))
}

fn on_event(
    client: &mut Client,
    event: Event,
    hear: &mut impl FnMut(Heard<'_>) -> Result<(), String>,
) -> Result<(), String> {
    match event {
        Event::Message { delivery, publication, .. } => {
            let content_type =
                publication.properties.as_ref().and_then(|own| own.content_type.as_deref());
            hear(Heard::Message {
                topic: &publication.topic,
                payload: &publication.payload,
                content_type,
            })?;
            client.handle_command(clock::now(), Command::Acknowledge(delivery));
            Ok(())
        }
        // There is nothing to keep, so it is kept at once.
        Event::Session { seq, .. } => {
            client.handle_input(clock::now(), Input::Durable(seq));
            Ok(())
        }
        Event::InFlight { .. } => Ok(()),
        Event::Up { .. } => hear(Heard::Up),
        Event::Subscribed { granted } => granted
            .iter()
            .filter(|(_, granted)| granted.is_err())
            .try_for_each(|(filter, _)| hear(Heard::Refused(filter))),
        Event::Down { cause, retry_in: Some(_), .. } => hear(Heard::Down(&cause)),
        Event::Down { .. } | Event::Completed { .. } | Event::Notice(_) => Ok(()),
    }
}
