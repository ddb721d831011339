//! Ctrl-C and SIGTERM while a statement runs.
//!
//! From the first use on the process no longer dies of these signals by itself, so they are only listened to where they end
//! something: a statement of the shell (Ctrl-C; the line editor has it at the prompt), or all of a command (both).

use tokio::signal::unix::{SignalKind, signal};

use super::SqlError;

/// What ends a statement in the shell.
pub const CTRL_C: [SignalKind; 1] = [SignalKind::interrupt()];
/// What ends a command.
pub const ANY: [SignalKind; 2] = [SignalKind::interrupt(), SignalKind::terminate()];

/// Does the work unless one of the signals comes first: then the work is dropped where it stands, and its tasks with it.
pub async fn unless_interrupted<T>(
    signals: &[SignalKind],
    work: impl Future<Output = Result<T, SqlError>>,
) -> Result<T, SqlError> {
    let mut listeners = Vec::new();
    for kind in signals {
        listeners.push((kind.as_raw_value(), signal(*kind)?));
    }
    let came = listeners.iter_mut().map(|(number, listener)| {
        Box::pin(async move {
            listener.recv().await;
            *number
        })
    });
    tokio::select! {
        biased;
        (number, _, _) = futures::future::select_all(came) => Err(SqlError::Interrupted(number)),
        done = work => done,
    }
}
