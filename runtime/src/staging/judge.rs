//! What the end of a transfer means for its piece, and whether one may begin.

use dmaring_ring::CompletionCode;

use super::{
    file::StagedFile,
    job::{Input, Job, Output},
    port::StagedFailure,
    step::{Phase, Step},
};

/// Which file an I/O failure names.
const SOURCE: u8 = 0;
const DESTINATION: u8 = 1;

/// What became of a transfer.
pub(super) enum Next {
    /// The phase goes on with another.
    Again,
    /// The phase is over.
    Over,
    Failed(StagedFailure),
}

/// What a transfer's result means for its piece.
pub(super) fn judge(step: &mut Step, job: &Job, result: i32) -> Next {
    let (which, lead, needed) = match step.phase {
        Phase::Read => (SOURCE, step.cut.input_lead, step.read_length()),
        _ => (DESTINATION, 0, step.cut.length),
    };
    let fail = |step: &Step, errno: i32| {
        let at = step.cut.offset + step.done.saturating_sub(lead).min(step.cut.length);
        Next::Failed((CompletionCode::IO, which, errno.unsigned_abs(), at))
    };
    match result {
        0 if step.phase == Phase::Sync => Next::Over,
        1.. => {
            step.done += u64::from(result.unsigned_abs());
            if step.done >= needed { Next::Over } else { Next::Again }
        }
        // A read finds the file's end; a write that writes nothing has no reason to give.
        0 if step.phase == Phase::Read => fail(step, 0),
        0 => fail(step, libc::EIO),
        _ => match -result {
            libc::EINTR | libc::EAGAIN => Next::Again,
            libc::EINVAL if step.direct => {
                let file = match (step.phase, &job.input, &job.output) {
                    (Phase::Read, Input::File(file, _), _) | (_, _, Output::File(file, _)) => file,
                    _ => return fail(step, libc::EINVAL),
                };
                file.refuse_direct();
                Next::Again
            }
            errno => fail(step, errno),
        },
    }
}

/// Refuses to write beyond the end of a file that is shorter than it was when it was opened: that would extend it.
pub(super) fn check_length(
    step: &Step,
    file: &StagedFile,
    first: u64,
) -> Result<(), StagedFailure> {
    let start = first + step.cut.offset;
    let failure = |errno: i32, at: u64| {
        Err((CompletionCode::IO, DESTINATION, errno.unsigned_abs(), step.cut.offset + at))
    };
    match file.length() {
        Ok(length) if length >= start + step.cut.length => Ok(()),
        Ok(length) => failure(0, length.saturating_sub(start)),
        Err(error) => failure(error.raw_os_error().unwrap_or(libc::EIO), step.done),
    }
}
