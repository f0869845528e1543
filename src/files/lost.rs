//! Pages of a mapped file that are gone, since another program cut the file short. Who touches such
//! a page gets SIGBUS, by which a program ends without a word. Instead it ends with one line; or,
//! while something is worth more than that ([`Survival`]), it reads zeros in their place and is
//! expected to look ([`Region::is_lost`]) before it uses what it computed.
//!
//! Linux alone. Elsewhere the signal has its usual effect.

#[cfg(target_os = "linux")]
pub use linux::{Region, Survival};
#[cfg(not(target_os = "linux"))]
pub use others::{Region, Survival};

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::path::Path;
    use std::ptr;
    use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
    use std::sync::{Mutex, Once, PoisonError};

    /// A mapped file's place in memory, known to the handler for as long as this lives.
    pub struct Region {
        entry: &'static Entry,
        /// What is written if the program ends by it.
        _message: Box<[u8]>,
    }

    /// What the handler reads. Entries are never freed, since it may be reading them, but serve one
    /// file after another.
    struct Entry {
        start: AtomicUsize,
        /// 0 while it serves none.
        end: AtomicUsize,
        is_lost: AtomicBool,
        message: AtomicPtr<u8>,
        length: AtomicUsize,
        /// The entry that was made before this one.
        next: Option<&'static Entry>,
    }

    /// The entry that was made last.
    static ENTRIES: AtomicPtr<Entry> = AtomicPtr::new(ptr::null_mut());
    /// Those that serve no file.
    static FREE: Mutex<Vec<&'static Entry>> = Mutex::new(Vec::new());
    /// How many [`Survival`]s there are.
    static SURVIVALS: AtomicUsize = AtomicUsize::new(0);
    static PAGE: AtomicUsize = AtomicUsize::new(4096);
    static INSTALLED: Once = Once::new();

    impl Region {
        /// Watches over the bytes of a file that was just mapped.
        pub fn new(bytes: &[u8], path: &Path) -> io::Result<Self> {
            INSTALLED.call_once(install);
            let start = bytes.as_ptr() as usize;
            let name = path.to_string_lossy();
            let message = format!(
                "error: this file was cut short while it was read, or its disk or network failed: {}\n",
                name.escape_debug()
            );
            let mut message = message.into_bytes().into_boxed_slice();
            let entry = Entry::unused();
            entry.is_lost.store(false, Ordering::Release);
            entry.message.store(message.as_mut_ptr(), Ordering::Release);
            entry.length.store(message.len(), Ordering::Release);
            entry.start.store(start, Ordering::Release);
            entry.end.store(start + bytes.len(), Ordering::Release);
            Ok(Self {
                entry,
                _message: message,
            })
        }

        /// Whether bytes were read that are gone.
        pub fn is_lost(&self) -> bool {
            self.entry.is_lost.load(Ordering::Acquire)
        }
    }

    impl Drop for Region {
        fn drop(&mut self) {
            self.entry.end.store(0, Ordering::Release);
            free().push(self.entry);
        }
    }

    impl Entry {
        /// One that serves no file, which is made if need be.
        fn unused() -> &'static Self {
            let mut free = free();
            if let Some(entry) = free.pop() {
                return entry;
            }
            // The lock is held, so that nobody else makes one meanwhile.
            // SAFETY: entries are never freed.
            let next = unsafe { ENTRIES.load(Ordering::Acquire).as_ref() };
            let entry = Box::leak(Box::new(Self {
                start: AtomicUsize::new(0),
                end: AtomicUsize::new(0),
                is_lost: AtomicBool::new(false),
                message: AtomicPtr::new(ptr::null_mut()),
                length: AtomicUsize::new(0),
                next,
            }));
            ENTRIES.store(entry, Ordering::Release);
            entry
        }
    }

    fn free() -> std::sync::MutexGuard<'static, Vec<&'static Entry>> {
        FREE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// While one of these lives, lost bytes read as zeros.
    pub struct Survival(());

    impl Survival {
        /// Begins.
        pub fn begin() -> Self {
            SURVIVALS.fetch_add(1, Ordering::AcqRel);
            Self(())
        }
    }

    impl Drop for Survival {
        fn drop(&mut self) {
            SURVIVALS.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn install() {
        // SAFETY: sysconf and sigaction are given what they ask for; the handler does only what a
        // handler may: it reads atomics and memory that is never freed, and makes system calls.
        unsafe {
            if let Ok(page) = usize::try_from(libc::sysconf(libc::_SC_PAGESIZE)) {
                PAGE.store(page, Ordering::Relaxed);
            }
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_bus_error as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            // If it fails, the signal has its usual effect.
            libc::sigaction(libc::SIGBUS, &action, ptr::null_mut());
        }
    }

    extern "C" fn on_bus_error(
        signal: libc::c_int,
        info: *mut libc::siginfo_t,
        _: *mut libc::c_void,
    ) {
        // SAFETY: the system hands a valid `info` to a handler that asks for one.
        let address = unsafe { (*info).si_addr() } as usize;
        // SAFETY: entries are never freed.
        let mut next = unsafe { ENTRIES.load(Ordering::Acquire).as_ref() };
        while let Some(entry) = next {
            let end = entry.end.load(Ordering::Acquire);
            if (entry.start.load(Ordering::Acquire)..end).contains(&address) {
                return found(entry, address, end);
            }
            next = entry.next;
        }
        // None of ours: the same happens again, and has its usual effect.
        // SAFETY: a system call that a handler may make.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }

    /// Puts zeros in the place of what is gone, or ends the program.
    fn found(entry: &Entry, address: usize, end: usize) {
        entry.is_lost.store(true, Ordering::Release);
        let page = PAGE.load(Ordering::Relaxed);
        let first = address - address % page;
        // SAFETY: system calls that a handler may make. The pages that are replaced belong to a
        // mapped file that is only read, and behind the first one that is gone all are.
        unsafe {
            let zeros = match SURVIVALS.load(Ordering::Acquire) {
                0 => libc::MAP_FAILED,
                _ => libc::mmap(
                    first as *mut libc::c_void,
                    end - first,
                    libc::PROT_READ,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                    -1,
                    0,
                ),
            };
            if zeros == libc::MAP_FAILED {
                // It belongs to the region of the file that is being read, which lives.
                let message = entry.message.load(Ordering::Acquire);
                let length = entry.length.load(Ordering::Acquire);
                libc::write(libc::STDERR_FILENO, message.cast(), length);
                libc::_exit(1);
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod others {
    use std::io;
    use std::path::Path;

    /// A mapped file's place in memory.
    pub struct Region;

    impl Region {
        /// Does nothing.
        pub fn new(_: &[u8], _: &Path) -> io::Result<Self> {
            Ok(Self)
        }

        /// Nothing is ever seen to be lost.
        pub fn is_lost(&self) -> bool {
            false
        }
    }

    /// Changes nothing.
    pub struct Survival;

    impl Survival {
        /// Begins.
        pub fn begin() -> Self {
            Self
        }
    }
}
