//! Memory available to this process, as the system reports it.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes that are left, and who says so.
#[derive(Debug, Clone, PartialEq)]
pub struct Room {
    /// How many.
    pub bytes: f64,
    /// As the end of "the memory that …": "this machine has left".
    pub whose: String,
}

impl Room {
    /// What is left to this process: of the machine, of the control groups that it is in, of its own limits, whichever is least.
    /// Nothing on systems that do not say.
    pub fn here() -> Option<Self> {
        Self::of(Path::new("/"))
    }

    /// As [`here`](Self::here), of the files below `root`.
    fn of(root: &Path) -> Option<Self> {
        let machine = machine(root);
        let all = machine.into_iter().chain(groups(root)).chain(limits(root));
        all.min_by(|a, b| a.bytes.total_cmp(&b.bytes))
    }
}

/// The number of kB that a line of /proc gives for `key`, in bytes.
fn kilobytes(text: &str, key: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let number = line.trim_start_matches(':').split_whitespace().next()?;
    number
        .parse::<f64>()
        .ok()
        .map(|kilobytes| 1024.0 * kilobytes)
}

/// What can be had without another process losing anything, and what can be swapped for it.
fn machine(root: &Path) -> Option<Room> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let of = |key| kilobytes(&text, key);
    Some(Room {
        bytes: of("MemAvailable")? + of("SwapFree").unwrap_or(0.0),
        whose: format!(
            "this machine has left of {}",
            gibibytes(of("MemTotal").unwrap_or(f64::NAN))
        ),
    })
}

/// What each control group leaves, of this process and of those above it, in version 1 and 2 of their files.
fn groups(root: &Path) -> Vec<Room> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut folders = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let mount = match controllers {
            "" => "sys/fs/cgroup",
            _ if controllers.split(',').any(|name| name == "memory") => "sys/fs/cgroup/memory",
            _ => continue,
        };
        let mount = root.join(mount);
        // In a container the path may be the host's, and the group that counts be the root of what is mounted.
        let own = mount.join(path.trim_start_matches('/'));
        let above = own
            .ancestors()
            .take_while(|folder| folder.starts_with(&mount));
        folders.extend(above.map(Path::to_path_buf));
    }
    folders
        .iter()
        .filter_map(|folder| group(folder, root))
        .collect()
}

/// Limit, use, and the two parts of the use that are files' pages, which are given up when memory is wanted.
const FILES: [[&str; 4]; 2] = [
    [
        "memory.max",
        "memory.current",
        "inactive_file ",
        "active_file ",
    ],
    [
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file ",
        "total_active_file ",
    ],
];

fn group(folder: &Path, root: &Path) -> Option<Room> {
    let [limit, usage, pages @ ..] = FILES
        .into_iter()
        .find(|names| folder.join(names[0]).exists())?;
    let number = |name: &str| {
        let text = fs::read_to_string(folder.join(name)).ok()?;
        text.trim().parse::<f64>().ok()
    };
    // "max" is no number: no limit.
    let (most, used) = (number(limit)?, number(usage)?);
    let statistics = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let given_up: f64 = pages
        .into_iter()
        .filter_map(|key| statistics.lines().find_map(|line| line.strip_prefix(key)))
        .filter_map(|number| number.trim().parse::<f64>().ok())
        .sum();
    let path = Path::new("/").join(folder.strip_prefix(root).unwrap_or(folder));
    Some(Room {
        bytes: (most - used + given_up.min(used)).max(0.0),
        whose: format!(
            "the control group's limit of {} leaves ({})",
            gibibytes(most),
            path.join(limit).display()
        ),
    })
}

/// What `ulimit -v` and `ulimit -d` leave.
fn limits(root: &Path) -> Vec<Room> {
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
    let (limits, status) = (read("proc/self/limits"), read("proc/self/status"));
    let room = |(limit, used, option): (&str, &str, &str)| {
        let line = limits.lines().find_map(|line| line.strip_prefix(limit))?;
        // "unlimited" is no number.
        let most: f64 = line.split_whitespace().next()?.parse().ok()?;
        Some(Room {
            bytes: (most - kilobytes(&status, used)?).max(0.0),
            whose: format!("`ulimit {option}` of {} leaves", gibibytes(most)),
        })
    };
    let all = [
        ("Max address space", "VmSize", "-v"),
        ("Max data size", "VmData", "-d"),
    ];
    all.into_iter().filter_map(room).collect()
}

/// The most memory that this process has had at once, and what it has now; nothing on systems that do not say.
pub fn peak_of_process() -> Option<[f64; 2]> {
    let text = fs::read_to_string(PathBuf::from("/proc/self/status")).ok()?;
    Some([kilobytes(&text, "VmHWM")?, kilobytes(&text, "VmRSS")?])
}

/// Bytes that no machine has.
pub(super) const ABSURD: f64 = 1e18;

/// Bytes as a person reads them.
pub fn gibibytes(bytes: f64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20)];
    if bytes.is_nan() || bytes >= ABSURD {
        return "more than any machine has".to_owned();
    }
    let (unit, value) = units
        .into_iter()
        .map(|(unit, power)| (unit, bytes / 2f64.powi(power)))
        .find(|(_, value)| *value >= 1.0)
        .unwrap_or(("MiB", bytes / 2f64.powi(20)));
    if value < 10.0 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: f64 = (1_u64 << 30) as f64;

    /// A system as its files tell of it.
    fn system(files: &[(&str, &str)]) -> Option<Room> {
        let root = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            fs::write(path, text).expect("a file");
        }
        Room::of(root.path())
    }

    const MEMINFO: (&str, &str) = (
        "proc/meminfo",
        "MemTotal:       16777216 kB\nMemFree:   100 kB\nMemAvailable:    8388608 kB\nSwapFree:  1048576 kB\n",
    );

    fn assert_left(room: Option<Room>, gib: f64, whose: &str) {
        let room = room.expect("a system that says");
        assert!((room.bytes / GIB - gib).abs() < 1e-9, "{room:?}");
        assert!(room.whose.contains(whose), "{room:?}");
    }

    #[test]
    fn the_machine_has_what_is_available_and_swap() {
        assert_left(system(&[MEMINFO]), 9.0, "machine has left of 16 GiB");
        assert!(
            system(&[]).is_none(),
            "a system without these files says nothing"
        );
    }

    #[test]
    fn a_group_above_counts_and_pages_of_files_are_free() {
        let gib = |n: f64| format!("{}\n", n * GIB);
        let (max, current) = (gib(4.0), gib(3.0));
        let stat = format!(
            "anon 1\ninactive_file {}active_file {}",
            gib(0.5),
            gib(0.25)
        );
        let v2 = [
            MEMINFO,
            ("proc/self/cgroup", "0::/outer/inner\n"),
            ("sys/fs/cgroup/outer/inner/memory.max", "max\n"),
            ("sys/fs/cgroup/outer/inner/memory.current", &current),
            ("sys/fs/cgroup/outer/memory.max", &max),
            ("sys/fs/cgroup/outer/memory.current", &current),
            ("sys/fs/cgroup/outer/memory.stat", &stat),
        ];
        assert_left(system(&v2), 1.75, "/sys/fs/cgroup/outer/memory.max");
    }

    #[test]
    fn a_container_of_version_1_is_judged_by_the_root_of_its_mount() {
        let gib = |n: f64| format!("{}\n", n * GIB);
        let (limit, usage) = (gib(2.0), gib(1.5));
        let v1 = [
            MEMINFO,
            (
                "proc/self/cgroup",
                "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", &limit),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", &usage),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "inactive_file 5\ntotal_inactive_file 268435456\ntotal_active_file 0\n",
            ),
        ];
        let room = system(&v1);
        let left = room.as_ref().map(|room| room.bytes);
        // The group's own share and that of all in it are two lines: the second has the first in it.
        assert_left(room, 0.75, "memory.limit_in_bytes");
        assert!(left.is_some_and(|bytes| bytes < GIB));
    }

    #[test]
    fn limits_of_the_process_are_less_what_it_has() {
        let files = [
            MEMINFO,
            (
                "proc/self/limits",
                "Limit                     Soft Limit           Hard Limit           Units\nMax data size             unlimited            unlimited            bytes\nMax address space         3221225472           unlimited            bytes\n",
            ),
            (
                "proc/self/status",
                "VmSize:\t 1048576 kB\nVmData:\t 100 kB\n",
            ),
        ];
        assert_left(system(&files), 2.0, "`ulimit -v` of 3.0 GiB");
    }

    #[test]
    fn this_process_has_a_peak_and_room() {
        if cfg!(target_os = "linux") {
            let [most, now] = peak_of_process().expect("Linux says");
            assert!(most >= now && now > 1e6, "{most} {now}");
            assert!(Room::here().is_some_and(|room| room.bytes > 0.0));
        }
    }

    #[test]
    fn bytes_read_as_people_say_them() {
        let said = [3.5 * GIB, 0.25 * GIB, 12.0 * GIB, 3000.0 * GIB, 1e6, 1e40].map(gibibytes);
        let want = [
            "3.5 GiB",
            "256 MiB",
            "12 GiB",
            "2.9 TiB",
            "1.0 MiB",
            "more than any machine has",
        ];
        assert_eq!(said, want);
    }
}
