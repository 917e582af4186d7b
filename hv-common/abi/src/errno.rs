//! Error numbers, as Xen's `errno.h` has them (Linux's values). A call returns the negated number.

/// Why a call was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
#[allow(missing_docs, reason = "the names are POSIX's own")]
pub enum Errno {
    EPERM = 1,
    ENOENT = 2,
    ESRCH = 3,
    EINTR = 4,
    EIO = 5,
    ENXIO = 6,
    E2BIG = 7,
    EAGAIN = 11,
    ENOMEM = 12,
    EACCES = 13,
    EFAULT = 14,
    EBUSY = 16,
    EEXIST = 17,
    EXDEV = 18,
    ENODEV = 19,
    EINVAL = 22,
    ENOSPC = 28,
    ERANGE = 34,
    EDEADLK = 35,
    ENOSYS = 38,
    ENOTEMPTY = 39,
    ENODATA = 61,
    ETIME = 62,
    EOVERFLOW = 75,
    EILSEQ = 84,
    EOPNOTSUPP = 95,
}

const ALL: [Errno; 26] = {
    use Errno::*;
    [
        EPERM, ENOENT, ESRCH, EINTR, EIO, ENXIO, E2BIG, EAGAIN, ENOMEM, EACCES, EFAULT, EBUSY,
        EEXIST, EXDEV, ENODEV, EINVAL, ENOSPC, ERANGE, EDEADLK, ENOSYS, ENOTEMPTY, ENODATA, ETIME,
        EOVERFLOW, EILSEQ, EOPNOTSUPP,
    ]
};

impl Errno {
    /// The value a call returns: the negated number, as a register holds it.
    #[must_use]
    pub const fn to_return_value(self) -> u64 {
        (-(self as i64)).cast_unsigned()
    }

    /// What a return value says: `Err` for a negated error number, `Ok` for the rest. An error number that is not
    /// known here is `EIO`.
    ///
    /// # Errors
    /// The error number in `value`.
    pub fn from_return_value(value: u64) -> Result<u64, Self> {
        let signed = value.cast_signed();
        if !(-4095..0).contains(&signed) {
            return Ok(value);
        }
        Err(ALL
            .into_iter()
            .find(|errno| -(*errno as i64) == signed)
            .unwrap_or(Self::EIO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_errno_survives_a_return_value() {
        for errno in ALL {
            assert_eq!(
                Errno::from_return_value(errno.to_return_value()),
                Err(errno)
            );
        }
        assert_eq!(Errno::from_return_value(7), Ok(7));
        assert_eq!(
            Errno::from_return_value((-4000_i64).cast_unsigned()),
            Err(Errno::EIO)
        );
    }
}
