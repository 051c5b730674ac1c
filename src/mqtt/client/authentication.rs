//! The exchange of enhanced authentication, MQTT 5.0 section 4.12.

use std::time::Instant;

use super::{Client, Phase};
use crate::mqtt::authenticator::Authenticator;
use crate::mqtt::error::Fault;
use crate::mqtt::packet::{Authentication, Outbound};
use crate::mqtt::reason::{self, Reason};
use crate::mqtt::timer::Timer;
use bytes::Bytes;

impl Client {
    /// What CONNECT says of it.
    pub(super) fn start_authentication(
        &mut self,
        authenticator: Option<Box<dyn Authenticator>>,
    ) -> Result<Option<Authentication>, Fault> {
        let Some(mut authenticator) = authenticator else { return Ok(None) };
        let data = authenticator.start().map_err(Fault::Authentication)?;
        let method = authenticator.method().to_owned();
        self.connection.authenticator = Some(authenticator);
        Ok(Some(Authentication { reason: Reason::default(), method, data: data.into() }))
    }

    /// AUTH of the server: it asks on.
    pub(super) fn on_auth(&mut self, now: Instant, packet: &Authentication) -> Result<(), Fault> {
        let is_greeting = self.phase == Phase::Greeting;
        let Some(authenticator) = self.connection.authenticator.as_mut().filter(|_| is_greeting)
        else {
            return Err(Fault::violation("it sent an AUTH that was not asked for"));
        };
        check_method(authenticator.as_ref(), &packet.method)?;
        if packet.reason.code != reason::CONTINUE_AUTHENTICATION {
            return Err(Fault::violation("it sent an AUTH of success in place of a CONNACK"));
        }
        let data = authenticator.proceed(&packet.data).map_err(Fault::Authentication)?;
        let answer = Authentication {
            reason: Reason::new(reason::CONTINUE_AUTHENTICATION), // MQTT-4.12.0-3
            method: packet.method.clone(),
            data: data.into(),
        };
        if let Some(timeout) = self.options.reply_timeout {
            self.timers.set(Timer::Connack, now + timeout);
        }
        self.send(now, Outbound::Auth(&answer)).map(drop)
    }

    /// CONNACK has accepted us: whether the server has shown what it had to.
    pub(super) fn finish_authentication(
        &mut self,
        answer: Option<&(String, Bytes)>,
    ) -> Result<(), Fault> {
        match (self.connection.authenticator.take(), answer) {
            (None, None) => Ok(()),
            (None, Some(_)) => {
                // MQTT-4.12.0-6
                Err(Fault::violation("its CONNACK has an Authentication Method, CONNECT had none"))
            }
            (Some(_), None) => {
                // MQTT-4.12.0-5
                Err(Fault::violation("its CONNACK has no Authentication Method"))
            }
            (Some(mut authenticator), Some((method, data))) => {
                check_method(authenticator.as_ref(), method)?;
                authenticator.finish(data).map_err(Fault::Authentication)
            }
        }
    }
}

fn check_method(authenticator: &dyn Authenticator, method: &str) -> Result<(), Fault> {
    if method == authenticator.method() {
        return Ok(());
    }
    Err(Fault::violation("it answered with another Authentication Method")) // MQTT-4.12.0-5
}
