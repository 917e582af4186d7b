//! Claim: memory is zero when a domain first sees it. With `paint` on its command line it leaves marks instead, for the
//! next one to look for. Its memory is told by `mib=`.
#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!("residue", || {
    use core::sync::atomic::Ordering;
    use guests::hostile::shared_page;
    use guests::place::RAM_BASE;

    // The image, the stack and what we were given are below the third MiB or in the last one.
    let mib = guests::options::option("mib=").expect("how much memory there is");
    let pages = (RAM_BASE + (3 << 20)..RAM_BASE + ((mib - 1) << 20)).step_by(4096);
    let paints = guests::options::says("paint");
    for page in pages {
        for word in shared_page(page) {
            if paints {
                word.store(0xA5A5_5A5A, Ordering::Relaxed);
            } else {
                assert_eq!(word.load(Ordering::Relaxed), 0, "somebody's, at {page:#x}");
            }
        }
    }
    if !paints {
        return guests::say!("all zero");
    }
    guests::say!("painted");
    // Its memory is taken from it as it is.
    loop {
        guests::interrupts::wait();
    }
});
