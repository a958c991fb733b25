use super::*;
use crate::config::tests::files::Scratch;

fn command(words: &[&str], limit: Duration) -> Result<Secret, String> {
    let words: Vec<_> = words.iter().map(|word| word.to_string()).collect();
    from_command(&words, limit).map_err(|fault| fault.to_string())
}

fn shell(script: &str) -> Result<Secret, String> {
    command(&["sh", "-c", script], COMMAND_LIMIT)
}

fn key_file(scratch: &Scratch, mode: u32, bytes: impl AsRef<[u8]>) -> Result<Secret, String> {
    let path = scratch.write("key", mode, bytes);
    from_file(&path.display().to_string(), &Environment::from_map([]), Path::new("/"))
        .map_err(|fault| fault.to_string())
}

#[test]
fn a_variable_gives_its_value() {
    let environment = Environment::from_map([("KEY", "sk-1"), ("EMPTY", ""), ("lower", "")]);
    assert_eq!(from_variable("KEY", &environment).unwrap().expose(), "sk-1");
    let message = |name: &str| from_variable(name, &environment).unwrap_err().to_string();
    assert_eq!(message("EMPTY"), "the key is empty");
    assert_eq!(message("OTHER_KEY"), "the environment variable OTHER_KEY is not set");
    assert_eq!(message("abcdef0123456789"), "the environment variable it names is not set");
}

#[test]
fn a_key_file_loses_its_last_line_break() {
    let scratch = Scratch::new("key");
    for bytes in ["sk-1", "sk-1\n", "sk-1\r\n"] {
        assert_eq!(key_file(&scratch, 0o600, bytes).unwrap().expose(), "sk-1", "{bytes:?}");
    }
    for bytes in ["", "\n", "sk-1\nsk-2\n", "sk 1", "\u{feff}sk-1"] {
        let message = key_file(&scratch, 0o600, bytes).unwrap_err();
        assert!(message.starts_with("the key ") && !message.contains("sk-1"), "{message}");
    }
    assert_eq!(key_file(&scratch, 0o600, b"\xff\xff").unwrap_err(), "the key is not text");
    assert_eq!(key_file(&scratch, 0o600, "k".repeat(10_000)).unwrap_err(), "the key is longer than 8 KiB");
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let scratch = Scratch::new("key-mode");
    for mode in [0o640, 0o604, 0o620, 0o601] {
        let message = key_file(&scratch, mode, "sk-1").unwrap_err();
        assert!(message.contains(&format!("mode {mode:04o}")) && message.contains("chmod 600"), "{message}");
    }
    assert!(key_file(&scratch, 0o400, "sk-1").is_ok());
}

#[test]
fn a_link_to_a_key_file_that_others_can_read_is_refused() {
    let scratch = Scratch::new("key-link");
    let (target, link) = (scratch.write("target", 0o644, "sk-1"), scratch.0.join("link"));
    std::os::unix::fs::symlink(target, &link).unwrap();
    let fault =
        from_file(&link.display().to_string(), &Environment::from_map([]), Path::new("/")).unwrap_err();
    assert!(fault.to_string().contains("can be read by other users"), "{fault}");
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    for (path, message) in
        [("/dev/zero", "is not a regular file"), ("/nowhere/key", "/nowhere/key can't be read: ")]
    {
        let fault = from_file(path, &Environment::from_map([]), Path::new("/")).unwrap_err().to_string();
        assert!(fault.contains(message), "{fault}");
    }
    let fault = from_file("~/key", &Environment::from_map([]), Path::new("/")).unwrap_err().to_string();
    assert!(fault.contains("HOME is not set"), "{fault}");
}

#[test]
fn a_command_gives_its_first_line() {
    for script in
        ["echo sk-1", "printf sk-1", "printf 'sk-1\\r\\nlogin: me\\n'", "echo sk-1; yes | head -c 1000000"]
    {
        assert_eq!(shell(script).unwrap().expose(), "sk-1", "{script}");
    }
    assert_eq!(command(&["echo", "$HOME"], COMMAND_LIMIT).unwrap().expose(), "$HOME");
}

#[test]
fn a_command_that_fails_shows_its_status_and_not_its_output() {
    let message = shell("echo sk-canary; echo sk-canary >&2; exit 3").unwrap_err();
    assert_eq!(message, "the command failed: exit status: 3\n  run it by itself to see why");
    assert_eq!(shell("true").unwrap_err(), "the key is empty");
    assert!(
        command(&["/nowhere/sk-canary"], COMMAND_LIMIT)
            .unwrap_err()
            .starts_with("the command can't be started: ")
    );
    assert!(command(&["a\0b"], COMMAND_LIMIT).is_err());
    assert!(command(&[], COMMAND_LIMIT).is_err());
}

#[test]
fn a_command_that_takes_too_long_is_ended() {
    let message = command(&["sleep", "60"], Duration::from_millis(50)).unwrap_err();
    assert_eq!(message, "the command took longer than 0.05 s");
}

#[test]
fn a_program_left_behind_doesnt_hold_the_key_back() {
    assert_eq!(shell("sleep 5 & echo sk-1").unwrap().expose(), "sk-1");
}
