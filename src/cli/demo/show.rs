//! Shows pictures until the demo is over, on a terminal or as plain text.

use std::future::Future;
use std::io::{self, Write};
use std::time::Duration;

use super::screen::{ENTER, LEAVE, Paper, Screen, Summary, Tally, overlay, render};
use crate::clock;

/// Shows `picture` again and again until `run_for` is over or `stop` is, then the last picture and
/// one line that sums up.
///
/// `picture` is given the time since the start and the time to the end. `paper` is asked before
/// every picture, as terminals change their size; on paper of some height pictures are laid over
/// each other on a screen of their own, else they are printed one after the other.
///
/// # Errors
///
/// Writing failed; a reader that went away is [`io::ErrorKind::BrokenPipe`].
pub(super) async fn show<W: Write>(
    out: &mut W,
    run_for: Option<Duration>,
    stop: impl Future<Output = ()>,
    paper: impl Fn() -> Paper,
    mut picture: impl FnMut(Duration, Option<Duration>) -> Screen,
) -> io::Result<Summary> {
    let started = clock::now();
    let live = paper().height.is_some();
    let mut tally = Tally::default();
    let mut printed = None;
    let mut curtain = Curtain::open(out, live)?;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tokio::pin!(stop);
    let mut last = loop {
        let stopped = tokio::select! {
            biased;
            () = &mut stop => true,
            _ = ticks.tick() => false,
        };
        let elapsed = clock::now().saturating_duration_since(started);
        let remaining = run_for.map(|run_for| run_for.saturating_sub(elapsed));
        let screen = picture(elapsed, remaining);
        tally.observe(&screen);
        if stopped || remaining == Some(Duration::ZERO) {
            break screen;
        }
        // Plain text would flood a log at the pace that a terminal likes.
        let due = printed.is_none_or(|printed| elapsed.saturating_sub(printed) >= PLAIN_PAUSE);
        if live {
            curtain.print(&overlay(&render(&screen, paper())))?;
        } else if due {
            curtain.print(&format!("{}\n", render(&screen, paper())))?;
            printed = Some(elapsed);
        }
    };
    drop(curtain);
    let summary = tally.summary(&last);
    // The folder goes with the demo, and a terminal can be scrolled: all of it, without pages.
    last.config.clear();
    let whole = Paper { height: live.then_some(usize::MAX), ..paper() };
    writeln!(out, "{}\n\n{summary}", render(&last, whole).trim_end_matches('\n'))?;
    out.flush()?;
    Ok(summary)
}

/// The screen of one's own, left however the demo ends.
struct Curtain<'a, W: Write> {
    out: &'a mut W,
    live: bool,
}

impl<'a, W: Write> Curtain<'a, W> {
    fn open(out: &'a mut W, live: bool) -> io::Result<Self> {
        let mut curtain = Self { out, live };
        if live {
            curtain.print(ENTER)?;
        }
        Ok(curtain)
    }

    fn print(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

impl<W: Write> Drop for Curtain<'_, W> {
    fn drop(&mut self) {
        if self.live {
            // Whoever could be told of a failure has lost the terminal.
            let _ = self.print(LEAVE);
        }
    }
}

/// Between two looks at the values, and two pictures on a terminal.
const TICK: Duration = Duration::from_millis(250);
/// Between two pictures of plain text.
const PLAIN_PAUSE: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Paper = Paper { width: 132, height: None, colour: false };
    const TERMINAL: Paper = Paper { width: 80, height: Some(24), colour: true };

    fn screen(elapsed: Duration, remaining: Option<Duration>) -> Screen {
        let config = "/tmp/tagline-demo-1-0".into();
        Screen { line: "plant".into(), elapsed, remaining, config, ..Screen::default() }
    }

    async fn shown(run_for: Option<Duration>, stop: bool, paper: Paper) -> String {
        let mut out = Vec::new();
        let stopped = async {
            if !stop {
                std::future::pending::<()>().await;
            }
        };
        show(&mut out, run_for, stopped, || paper, screen).await.unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn plain_text_ends_with_one_line_that_sums_up() {
        let text = shown(Some(Duration::ZERO), false, PLAIN).await;
        assert!(!text.contains('\x1b'));
        assert_eq!(text.matches("tagline demo").count(), 1);
        assert!(text.lines().last().unwrap().starts_with("0 of 0 stations"), "{text}");
    }

    #[tokio::test]
    async fn a_terminal_is_given_back_before_the_last_picture() {
        let text = shown(None, true, TERMINAL).await;
        let (before, after) = text.split_once(LEAVE).unwrap();
        assert!(before.starts_with(ENTER));
        assert!(after.contains("tagline demo") && after.ends_with(" s\n"), "{after:?}");
        assert!(!after.contains("/tmp/tagline-demo"), "the folder is gone by then: {after:?}");
    }

    #[tokio::test]
    async fn pictures_come_until_the_time_is_over() {
        let text = shown(Some(TICK), false, TERMINAL).await;
        assert!(text.matches("\x1b[H").count() >= 1, "{text:?}");
        let text = shown(Some(TICK), false, PLAIN).await;
        assert_eq!(text.matches("tagline demo").count(), 2, "{text}");
        assert_eq!(text.matches("/tmp/tagline-demo-1-0 read").count(), 1, "{text}");
    }

    /// Takes so many bytes, then fails.
    struct Full(usize, Vec<u8>);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 < bytes.len() {
                self.0 = 100;
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.0 -= bytes.len();
            self.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_failed_write_gives_the_terminal_back_too() {
        let mut out = Full(ENTER.len(), Vec::new());
        let pending = std::future::pending();
        let end = show(&mut out, None, pending, || TERMINAL, screen).await;
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(out.1.ends_with(LEAVE.as_bytes()));
    }
}
