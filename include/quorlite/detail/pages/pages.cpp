/// @file
/// One unit of the compiled library: the page stores.

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#error "this unit belongs to the compiled library, which defines QUORLITE_SEPARATE_COMPILATION"
#endif

#include "quorlite/detail/pages/page_reader.ipp"
#include "quorlite/detail/pages/page_store.ipp"
#include "quorlite/detail/pages/page_table.ipp"
#include "quorlite/detail/pages/page_version.ipp"
#include "quorlite/detail/pages/pin_ledger.ipp"
#include "quorlite/detail/pages/reclaim.ipp"
#include "quorlite/detail/pages/registry.ipp"
#include "quorlite/detail/pages/store_share.ipp"
#include "quorlite/detail/pages/version_chains.ipp"
#include "quorlite/detail/pages/version_history.ipp"
