//! The qtest protocol against a peer that is right, wrong, slow or gone.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use dmaring_emulated::{
    Qtest,
    guest::{Chipset, ChipsetError},
};

/// A chipset whose peer answers each line as told, and what the peer was asked.
fn peer<R>(
    answers: &[&str],
    patience: Duration,
    ask: impl FnOnce(&Qtest) -> R,
) -> (R, Vec<String>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let qtest = Qtest::with_patience(patience);
    qtest.connect(ours);
    thread::scope(|scope| {
        let peer = scope.spawn(move || {
            let mut asked = Vec::new();
            let mut lines = BufReader::new(&theirs).lines();
            for answer in answers {
                let Some(Ok(line)) = lines.next() else { break };
                asked.push(line);
                (&theirs).write_all(answer.as_bytes()).unwrap();
            }
            (asked, theirs)
        });
        let result = ask(&qtest);
        drop(qtest);
        (result, peer.join().unwrap().0)
    })
}

const LONG: Duration = Duration::from_secs(30);

#[test]
fn reads_and_writes_are_lines_and_unasked_lines_are_skipped() {
    let answers = ["OK 0xffffffffc0000000\n", "IRQ raise 3\nIRQ lower 3\nOK 0x123456789\n", "OK\n"];
    let ((), asked) = peer(&answers, LONG, |qtest| {
        assert_eq!(qtest.read32(0xfed9_001c).unwrap(), 0xc000_0000);
        assert_eq!(qtest.read64(0xfed9_0020).unwrap(), 0x1_2345_6789);
        qtest.write32(0xfee0_1000, 0x31).unwrap();
    });
    assert_eq!(asked, ["readl 0xfed9001c", "readq 0xfed90020", "writel 0xfee01000 0x31"]);
}

#[test]
fn answers_that_are_none_are_errors() {
    let long = format!("OK {}\n", "x".repeat(4000));
    let irq = "IRQ raise 1\n".repeat(2000);
    for answer in ["FAIL Unknown command\n", "OK\n", "OK 12\n", "OK 0x\n", "\n", &long, &irq] {
        let (error, _) = peer(&[answer], LONG, |qtest| qtest.read32(4).unwrap_err());
        let ChipsetError::Answer { command, answer } = error else { panic!("{error}") };
        assert_eq!(command, "readl 0x4");
        assert!(answer.chars().count() <= 80);
    }
}

#[test]
fn a_peer_that_is_silent_or_gone_ends_the_wait() {
    let short = Duration::from_millis(20);
    let (error, _) = peer(&[""], short, |qtest| {
        let error = qtest.read32(4).unwrap_err();
        // A late answer is not taken for the next one's.
        assert!(matches!(qtest.read32(8), Err(ChipsetError::NotConnected { .. })));
        error
    });
    assert!(matches!(error, ChipsetError::TimedOut { .. }), "{error}");
    let gone = Qtest::with_patience(LONG);
    gone.connect(UnixStream::pair().unwrap().0);
    for _ in 0..2 {
        let error = gone.read32(4).unwrap_err();
        assert!(matches!(error, ChipsetError::Closed), "{error}");
    }
    let never = Qtest::with_patience(short);
    assert!(matches!(never.read32(4), Err(ChipsetError::NotConnected { .. })));
}

#[test]
fn a_connection_that_comes_late_is_waited_for_and_an_end_is_not() {
    let qtest = Arc::new(Qtest::with_patience(LONG));
    let asking = Arc::clone(&qtest);
    let waiting = thread::spawn(move || asking.read32(0));
    let (ours, theirs) = UnixStream::pair().unwrap();
    qtest.connect(ours);
    let mut line = String::new();
    BufReader::new(&theirs).read_line(&mut line).unwrap();
    (&theirs).write_all(b"OK 0x7\n").unwrap();
    assert_eq!(waiting.join().unwrap().unwrap(), 7);

    let qtest = Arc::new(Qtest::with_patience(LONG));
    let asking = Arc::clone(&qtest);
    let waiting = thread::spawn(move || asking.read32(0));
    qtest.close();
    assert!(matches!(waiting.join().unwrap(), Err(ChipsetError::Closed)));
}

#[test]
fn an_answer_byte_by_byte_is_waited_for_once() {
    let short = Duration::from_millis(100);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let qtest = Qtest::with_patience(short);
    qtest.connect(ours);
    let (ended, end) = mpsc::channel::<()>();
    let error = thread::scope(|scope| {
        scope.spawn(move || {
            let irq = b"IRQ raise 1\n".iter().cycle().take(40).chain(b"\nOK 0x7\n");
            for byte in irq {
                let pause = end.recv_timeout(short / 4);
                if pause != Err(RecvTimeoutError::Timeout) || (&theirs).write_all(&[*byte]).is_err()
                {
                    return;
                }
            }
        });
        let error = qtest.read32(4).unwrap_err();
        drop(ended);
        error
    });
    assert!(matches!(error, ChipsetError::TimedOut { .. }), "{error}");
}
