/// @file
/// The version of the library. Formats carry their own versions (see codec/).
#pragma once

#define QUORLITE_VERSION_MAJOR 0  ///< [public]
#define QUORLITE_VERSION_MINOR 1  ///< [public]
#define QUORLITE_VERSION_PATCH 0  ///< [public]
