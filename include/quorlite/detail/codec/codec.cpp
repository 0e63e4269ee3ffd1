/// @file
/// One unit of the compiled library: the vocabulary, the core and the codecs.

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#error "this unit belongs to the compiled library, which defines QUORLITE_SEPARATE_COMPILATION"
#endif

#include "quorlite/adapter_kit.ipp"
#include "quorlite/detail/codec/history_judge.ipp"
#include "quorlite/detail/codec/history_notes.ipp"
#include "quorlite/detail/codec/native.ipp"
#include "quorlite/detail/codec/native_payload.ipp"
#include "quorlite/detail/codec/native_rules.ipp"
#include "quorlite/detail/codec/page_delta.ipp"
#include "quorlite/detail/codec/page_delta_merge.ipp"
#include "quorlite/detail/codec/page_hash.ipp"
#include "quorlite/detail/codec/snapshot_format.ipp"
#include "quorlite/detail/codec/snapshot_layout.ipp"
#include "quorlite/detail/codec/snapshot_parser.ipp"
#include "quorlite/detail/core/crc32c.ipp"
#include "quorlite/detail/core/history_hash.ipp"
#include "quorlite/detail/core/history_marks.ipp"
#include "quorlite/detail/core/history_trail.ipp"
#include "quorlite/error.ipp"
