//! The package on a machine, and the container.

use core::time::Duration;
use std::process::{Command, Stdio};
use std::time::Instant;

use kilochat_tests::{ChatProgram, PlainPeer};
use nix::time::{ClockId, clock_gettime};

use crate::machine::{self, Machine};
use crate::talk::{Talk, text_of};
use crate::{NEW, PATIENCE, RELAY, answers, apart, made, succeeds, wait_until};

#[test]
#[ignore = "needs root, systemd-nspawn and packages: tests/check.sh packages"]
fn the_package_is_installed_upgraded_and_killed_and_the_room_is_the_same() {
    apart(|| {
        let machine = Machine::boot(&made("machine.tar"));
        install(&machine);
        let mut room = Room::join();
        upgrade(&machine, &mut room);
        crash(&machine, &mut room);
        hang(&machine, &mut room);
        room.fan_out();
        assert_eq!(machine.show("NRestarts"), "2", "{}", machine.journal());
        room.leave();
        remove(&machine);
    });
}

/// Installs the last release; it does not run before it is started.
fn install(machine: &Machine) {
    machine.put(&made("old.deb"), "root/old.deb");
    machine.run("apt-get install --yes /root/old.deb");
    assert_eq!(machine.show("ActiveState"), "inactive");
    machine.run("echo KILOCHAT_KEEP=/var/lib/kilochat >>/etc/default/kilochat");
    machine.run("systemctl start kilochat");
    // Type=notify: start returns when the relay has said that it is ready
    assert_eq!(machine.show("ActiveState"), "active");
    assert!(answers(), "{}", machine.journal());
    let status = machine.run("cat /proc/$(systemctl show -P MainPID kilochat)/status");
    for line in ["CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "no {line} in {status}");
    }
    let user = status.lines().find(|line| line.starts_with("Uid:"));
    assert!(!user.unwrap().starts_with("Uid:\t0"), "DynamicUser");
    machine.run("test -d /var/lib/private/kilochat");
}

/// A room of old and new clients.
struct Room {
    /// The program of the last release.
    old: String,
    talk: Talk,
    /// On netcat, and speaks.
    nina: PlainPeer,
    /// On netcat, and only listens.
    lisa: PlainPeer,
}

impl Room {
    fn join() -> Self {
        let old = made("old").to_str().unwrap().to_owned();
        let talk = Talk::begin(&old, NEW);
        Self {
            old,
            talk,
            nina: PlainPeer::join(RELAY, "Nina\n"),
            lisa: PlainPeer::join(RELAY, "Lisa\n"),
        }
    }

    /// Both versions are answered, and what a plain peer says is said under the name that it gave before, and heard by all.
    fn is_the_same(&mut self, text: &str) {
        for program in [self.old.as_str(), NEW] {
            assert!(succeeds(program, &["ping", "127.0.0.1", "-c", "1"]));
            let send = ["send", "127.0.0.1", "--name", "cron", "done"];
            assert!(succeeds(program, &send));
        }
        self.nina.say(format!("{text}\n"));
        self.lisa.wait_for(|line| line == format!("Nina : {text}"));
        for reader in &mut self.talk.readers {
            reader.wait_within(PATIENCE, |line| text_of(line, "Nina") == Some(text.into()));
        }
    }

    /// The first fan-out to 200 peers is made by two threads, each on a core of its own.
    fn fan_out(&mut self) {
        let mut peers: Vec<PlainPeer> = (0..200)
            .map(|number| PlainPeer::join(RELAY, &format!("peer{number}\n")))
            .collect();
        self.nina.say("to all\n");
        for peer in &mut peers {
            peer.wait_for(|line| line == "Nina : to all");
            peer.say("/quit\n");
        }
    }

    fn leave(self) {
        self.nina.say("/quit\n");
        self.lisa.say("/quit\n");
    }
}

/// Installs this version while 20 lines a second are said.
#[expect(clippy::print_stdout, reason = "a test prints what it measured")]
fn upgrade(machine: &Machine, room: &mut Room) {
    machine.put(&made("new.deb"), "root/new.deb");
    let before = machine.show("MainPID");
    room.talk.go_on(Duration::from_secs(3));
    std::thread::scope(|scope| {
        let upgrade = scope.spawn(|| machine.run("apt-get install --yes /root/new.deb"));
        while !upgrade.is_finished() {
            room.talk.go_on(Duration::from_millis(50));
            for peer in [&mut room.nina, &mut room.lisa] {
                while peer.receive(Duration::ZERO).is_some() {}
            }
        }
        upgrade.join().unwrap();
    });
    room.talk.go_on(Duration::from_secs(3));
    assert_ne!(machine.show("MainPID"), before, "the new program runs");
    let installed = machine.run("sha256sum </usr/bin/kilochat");
    let given = Command::new("sha256sum")
        .stdin(std::fs::File::open(made("new")).unwrap())
        .output();
    assert_eq!(installed.as_bytes(), given.unwrap().stdout);
    room.talk.check();
    let [old, new] = room.talk.silences();
    let away = machine
        .time("ActiveEnter")
        .saturating_sub(machine.time("ActiveExit"));
    println!(
        "upgrade: nothing lost, relay away for {away:?}, longest silence {new:?}, \
         between clients of the last release {old:?}"
    );
    // a machine that is busy with something else restarts it slowly, and clients ask less often then
    let is_busy = away > Duration::from_millis(400);
    let most = Duration::from_secs(if is_busy { 10 } else { 1 });
    assert!(new < most, "{new:?}");
    assert!(old < Duration::from_secs(10), "{old:?}");
    room.is_the_same("the ferry is late");
    machine.run("grep -q KEEP=/var/lib/kilochat /etc/default/kilochat");
    let journal = machine.run("journalctl -u kilochat -o json");
    for field in [
        // what systemd calls a notice
        "\"PRIORITY\":\"5\"",
        "\"NAME\":\"Nina\"",
        "\"MESSAGE\":\"joined\"",
    ] {
        assert!(journal.contains(field), "no {field} in {journal}");
    }
}

/// Ends the relay as a power cut does.
#[expect(clippy::print_stdout, reason = "a test prints what it measured")]
fn crash(machine: &Machine, room: &mut Room) {
    let before = machine.show("MainPID");
    room.is_the_same("before the crash");
    // what was said a moment ago is being written
    wait_until("it is kept", || {
        machine
            .run("cat /var/lib/kilochat/*.jsonl")
            .contains("before the crash")
    });
    let killed = monotonic();
    machine.run(&format!("kill -KILL {before}"));
    wait_until("the relay is back", || {
        machine.show("MainPID") != before && machine.show("ActiveState") == "active"
    });
    assert!(answers(), "{}", machine.journal());
    // when it said that it is ready
    let ready = machine.time("ActiveEnter");
    println!("SIGKILL: ready after {:?}", ready.saturating_sub(killed));
    room.is_the_same("after the crash");
}

/// Returns the time since this machine was started, as systemd counts it.
fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap().into()
}

/// Stops the relay's loop, which the watchdog notices.
#[expect(clippy::print_stdout, reason = "a test prints what it measured")]
fn hang(machine: &Machine, room: &mut Room) {
    let before = machine.show("MainPID");
    machine.run(&format!("kill -STOP {before}"));
    let stopped = Instant::now();
    wait_until("the watchdog ends it", || {
        machine.show("MainPID") != before && machine.show("ActiveState") == "active"
    });
    println!("SIGSTOP: replaced after {:?}", stopped.elapsed());
    room.is_the_same("after the watchdog");
}

/// Removes the package and what it kept.
fn remove(machine: &Machine) {
    machine.run("apt-get purge --yes kilochat");
    machine.run("! test -e /run/systemd/units/invocation:kilochat.service");
    machine.run(
        "for left in /usr/bin/kilochat /etc/default/kilochat /var/lib/private/kilochat; do \
         ! test -e $left || exit 1; done",
    );
}

#[test]
#[ignore = "needs root, buildah and packages: tests/check.sh packages"]
fn the_container_has_nothing_but_the_program_and_serves() {
    apart(|| {
        let storage = made("new").with_file_name("containers");
        let buildah = |arguments: &str| {
            let mut command = Command::new("buildah");
            command
                .arg("--root")
                .arg(storage.join("root"))
                .arg("--runroot")
                .arg(storage.join("run"))
                .args(arguments.split_whitespace())
                .env("STORAGE_DRIVER", "vfs")
                .env("BUILDAH_ISOLATION", "chroot");
            command
        };
        let finish = |arguments: &str| {
            let output = buildah(arguments).output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{arguments}: {errors}");
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let folder = made("new").with_file_name("");
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/Containerfile");
        let folder = folder.display();
        finish(&format!(
            "bud --format docker --build-arg PROGRAM=new --tag kilochat --file {file} {folder}"
        ));
        let container = finish("from kilochat");
        let mut relay = buildah(&format!("run {container} -- /kilochat relay"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("the relay of the container answers", answers);
        // as HEALTHCHECK does
        finish(&format!(
            "run {container} -- /kilochat ping 127.0.0.1 --count 1"
        ));
        let mut ada = PlainPeer::join(RELAY, "Ada");
        let mut bob = ChatProgram::start(NEW, &["127.0.0.1", "--name", "Bob"]);
        ada.wait_for(|line| line == "* Bob joined");
        bob.write("hello\n");
        ada.wait_for(|line| line == "Bob : hello");
        // it runs as nobody, without a capability
        let status = machine::status_of_listener(RELAY.port());
        for line in ["Uid:\t65534", "CapEff:\t0000000000000000"] {
            assert!(status.contains(line), "no {line} in {status}");
        }
        machine::end_listener(RELAY.port());
        relay.wait().unwrap();
        finish(&format!("rm {container}"));
        finish("rmi kilochat");
    });
}
