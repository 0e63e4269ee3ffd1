/// @file
/// The version of the library. Formats carry their own versions (see codec/).
#pragma once

#define QUORLITE_VERSION_MAJOR 0  ///< while it is 0, the minor number may change any interface
#define QUORLITE_VERSION_MINOR 1  ///< changes with the interface
#define QUORLITE_VERSION_PATCH 0  ///< changes with what was mended
