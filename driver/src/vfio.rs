//! VFIO: functions and their memory, in the hands of this process.
