// The concepts accept their archetypes, and refuse every near miss: one requirement weakened at a
// time.
#include "archetypes/consensus_archetype.hpp"
#include "archetypes/storage_archetype.hpp"
#include "quorlite/adapter_kit.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/storage.hpp"

namespace quorlite::tests {

using namespace quorlite::detail;  // NOLINT: tests of this library only

// ---- consensus

static_assert(consensus<consensus_archetype>);
static_assert(consensus<able_consensus_archetype>);
static_assert(consensus<clock_archetype>);
static_assert(consensus<random_archetype>);
static_assert(raisable_signal<thread_signal>);

namespace near_consensus {

struct no_abilities : consensus_archetype {
 private:
  static constexpr consensus_abilities abilities{};
};
struct changeable_abilities : consensus_archetype {
  static consensus_abilities abilities;
};
struct abilities_at_run_time : consensus_archetype {
  static const consensus_abilities abilities;
};
// Misspelt in a struct of one's own: not the library's struct, so the slip cannot pass unseen.
struct own_abilities {
  bool read_barier = true;
  bool read_barrier = false;
  bool leadership_transfer = false;
  bool background_work = false;
  bool now = false;
  bool random = false;
};
struct other_abilities : consensus_archetype {
  static constexpr own_abilities abilities{};
};
struct start_may_throw : consensus_archetype {
  std::error_code start(state_machine& machine);
};
struct start_says_bool : consensus_archetype {
  bool start(state_machine& machine) noexcept;
};
struct start_takes_pointer : consensus_archetype {
  std::error_code start(state_machine* machine) noexcept;
};
struct no_start : consensus_archetype {
  std::error_code start(state_machine& machine) noexcept = delete;
};
struct stop_may_throw : consensus_archetype {
  void stop();
};
struct stop_says_error : consensus_archetype {
  std::error_code stop() noexcept;
};
struct no_stop : consensus_archetype {
  void stop() noexcept = delete;
};
struct propose_may_throw : consensus_archetype {
  void propose(term expected, proposal_token token, bytes_view entry);
};
struct propose_answers : consensus_archetype {
  outcome propose(term expected, proposal_token token, bytes_view entry) noexcept;
};
struct propose_without_term : consensus_archetype {
  void propose(proposal_token token, bytes_view entry) noexcept;
};
struct propose_spoils_bytes : consensus_archetype {
  void propose(term expected, proposal_token token, bytes_span entry) noexcept;
};
struct size_is_not_const : consensus_archetype {
  std::size_t max_entry_bytes() noexcept;
};
struct size_may_throw : consensus_archetype {
  std::size_t max_entry_bytes() const;
};
struct size_is_int : consensus_archetype {
  int max_entry_bytes() const noexcept;
};
struct wait_says_nothing : consensus_archetype {
  void wait(signal_archetype& signal, milliseconds limit) noexcept;
};
struct wait_may_throw : consensus_archetype {
  bool wait(signal_archetype& signal, milliseconds limit);
};
struct wait_without_limit : consensus_archetype {
  bool wait(signal_archetype& signal) noexcept;
};
struct no_withdraw : consensus_archetype {
  void withdraw() noexcept = delete;
};
struct withdraw_may_throw : consensus_archetype {
  void withdraw();
};
struct withdraw_answers : consensus_archetype {
  bool withdraw() noexcept;
};
struct withdraw_wants_why : consensus_archetype {
  void withdraw(std::error_code why) noexcept;
};
struct no_signal : consensus_archetype {
 private:
  using signal_type = signal_archetype;
};
struct signal_needs_argument : consensus_archetype {
  struct signal_type : signal_archetype {
    explicit signal_type(int);
  };
};
struct signal_cannot_end : consensus_archetype {
  struct signal_type {
    void raise() noexcept;
    ~signal_type() = delete;
  };
  bool wait(signal_type& signal, milliseconds limit) noexcept;
};
struct raise_may_throw : consensus_archetype {
  struct signal_type : signal_archetype {
    void raise();
  };
};
struct raise_says_bool : consensus_archetype {
  struct signal_type : signal_archetype {
    bool raise() noexcept;
  };
};
struct barrier_is_missing : consensus_archetype {
  static constexpr consensus_abilities abilities{.read_barrier = true};
};
struct transfer_is_missing : consensus_archetype {
  static constexpr consensus_abilities abilities{.leadership_transfer = true};
};
struct work_is_missing : consensus_archetype {
  static constexpr consensus_abilities abilities{.background_work = true};
};
struct now_is_missing : consensus_archetype {
  static constexpr consensus_abilities abilities{.now = true};
};
struct random_is_missing : consensus_archetype {
  static constexpr consensus_abilities abilities{.random = true};
};
struct now_is_undeclared : consensus_archetype {
  clock_reading now() noexcept;
};
struct random_is_undeclared : consensus_archetype {
  std::uint64_t random() noexcept;
};
struct barrier_may_throw : able_consensus_archetype {
  void read_barrier(proposal_token token);
};
struct barrier_answers : able_consensus_archetype {
  log_index read_barrier(proposal_token token) noexcept;
};
struct transfer_may_throw : able_consensus_archetype {
  void transfer_leadership();
};
struct transfer_answers : able_consensus_archetype {
  bool transfer_leadership() noexcept;
};
struct run_may_throw : able_consensus_archetype {
  void run(background_task& task);
};
struct run_takes_const : able_consensus_archetype {
  void run(background_task&& task) noexcept;
};
struct now_may_throw : able_consensus_archetype {
  clock_reading now();
};
struct now_is_a_number : able_consensus_archetype {
  std::uint64_t now() noexcept;
};
struct random_may_throw : able_consensus_archetype {
  std::uint64_t random();
};
// What rand() and std::random_device give: half the bits.
struct random_is_short : able_consensus_archetype {
  std::uint32_t random() noexcept;
};

}  // namespace near_consensus

static_assert(!consensus<near_consensus::no_abilities>);
static_assert(!consensus<near_consensus::changeable_abilities>);
static_assert(!consensus<near_consensus::abilities_at_run_time>);
static_assert(!consensus<near_consensus::other_abilities>);
static_assert(!consensus<near_consensus::start_may_throw>);
static_assert(!consensus<near_consensus::start_says_bool>);
static_assert(!consensus<near_consensus::start_takes_pointer>);
static_assert(!consensus<near_consensus::no_start>);
static_assert(!consensus<near_consensus::stop_may_throw>);
static_assert(!consensus<near_consensus::stop_says_error>);
static_assert(!consensus<near_consensus::no_stop>);
static_assert(!consensus<near_consensus::propose_may_throw>);
static_assert(!consensus<near_consensus::propose_answers>);
static_assert(!consensus<near_consensus::propose_without_term>);
static_assert(!consensus<near_consensus::propose_spoils_bytes>);
static_assert(!consensus<near_consensus::size_is_not_const>);
static_assert(!consensus<near_consensus::size_may_throw>);
static_assert(!consensus<near_consensus::size_is_int>);
static_assert(!consensus<near_consensus::wait_says_nothing>);
static_assert(!consensus<near_consensus::wait_may_throw>);
static_assert(!consensus<near_consensus::wait_without_limit>);
static_assert(!consensus<near_consensus::no_withdraw>);
static_assert(!consensus<near_consensus::withdraw_may_throw>);
static_assert(!consensus<near_consensus::withdraw_answers>);
static_assert(!consensus<near_consensus::withdraw_wants_why>);
static_assert(!consensus<near_consensus::no_signal>);
static_assert(!consensus<near_consensus::signal_needs_argument>);
static_assert(!consensus<near_consensus::signal_cannot_end>);
static_assert(!consensus<near_consensus::raise_may_throw>);
static_assert(!consensus<near_consensus::raise_says_bool>);
static_assert(!consensus<near_consensus::barrier_is_missing>);
static_assert(!consensus<near_consensus::transfer_is_missing>);
static_assert(!consensus<near_consensus::work_is_missing>);
static_assert(!consensus<near_consensus::now_is_missing>);
static_assert(!consensus<near_consensus::random_is_missing>);
static_assert(!consensus<near_consensus::now_is_undeclared>);
static_assert(!consensus<near_consensus::random_is_undeclared>);
static_assert(!consensus<near_consensus::barrier_may_throw>);
static_assert(!consensus<near_consensus::barrier_answers>);
static_assert(!consensus<near_consensus::transfer_may_throw>);
static_assert(!consensus<near_consensus::transfer_answers>);
static_assert(!consensus<near_consensus::run_may_throw>);
static_assert(!consensus<near_consensus::run_takes_const>);
static_assert(!consensus<near_consensus::now_may_throw>);
static_assert(!consensus<near_consensus::now_is_a_number>);
static_assert(!consensus<near_consensus::random_may_throw>);
static_assert(!consensus<near_consensus::random_is_short>);
static_assert(!consensus<int>);

// ---- storage

static_assert(storage<storage_archetype>);
static_assert(storage<hashing_storage_archetype>);

namespace near_storage {

struct changeable_abilities : storage_archetype {
  static storage_abilities abilities;
};
struct own_abilities {
  bool page_hash = true;
  bool page_hashes = false;
};
struct other_abilities : storage_archetype {
  static constexpr own_abilities abilities{};
};
struct recover_may_throw : storage_archetype {
  result<recovery> recover();
};
struct recover_without_error : storage_archetype {
  recovery recover() noexcept;
};
struct open_may_throw : storage_archetype {
  result<database_archetype> open(std::string_view name, std::uint32_t page_size);
};
struct open_without_error : storage_archetype {
  database_archetype open(std::string_view name, std::uint32_t page_size) noexcept;
};
struct fixed_database : storage_archetype {
  struct database_type {
    database_type(database_type&&) = delete;
  };
};
struct read_is_not_const : storage_archetype {
  std::error_code read(const database_archetype& database, page_number page,
                       bytes_span into) noexcept;
};
struct read_may_throw : storage_archetype {
  std::error_code read(const database_archetype& database, page_number page, bytes_span into) const;
};
struct read_says_bool : storage_archetype {
  bool read(const database_archetype& database, page_number page, bytes_span into) const noexcept;
};
struct read_wants_own_handle : storage_archetype {
  std::error_code read(database_archetype& database, page_number page,
                       bytes_span into) const noexcept;
};
struct begin_may_throw : storage_archetype {
  result<flush_archetype> begin_flush(const history_position& ahead);
};
struct begin_without_ahead : storage_archetype {
  result<flush_archetype> begin_flush() noexcept;
};
struct begin_without_history : storage_archetype {
  result<flush_archetype> begin_flush(log_index ahead) noexcept;
};
struct commit_may_throw : storage_archetype {
  std::error_code commit(flush_archetype flush, const base_position& position);
};
struct commit_says_nothing : storage_archetype {
  void commit(flush_archetype flush, const base_position& position) noexcept;
};
struct write_may_throw : storage_archetype {
  struct flush_type : moved_only {
    result<database_archetype> open(std::string_view name, std::uint32_t page_size) noexcept;
    std::error_code write(const database_archetype& database, std::span<const page_view> sorted,
                          std::uint64_t page_count);
  };
  result<flush_type> begin_flush(const history_position& ahead) noexcept;
  std::error_code commit(flush_type flush, const base_position& position) noexcept;
};
struct write_spoils_pages : storage_archetype {
  struct flush_type : moved_only {
    result<database_archetype> open(std::string_view name, std::uint32_t page_size) noexcept;
    std::error_code write(const database_archetype& database, std::span<page_view> sorted,
                          std::uint64_t page_count) noexcept;
  };
  result<flush_type> begin_flush(const history_position& ahead) noexcept;
  std::error_code commit(flush_type flush, const base_position& position) noexcept;
};
// commit() takes the flush by value: moving it is part of a call that must not throw.
struct flush_move_may_throw : storage_archetype {
  struct flush_type {
    flush_type(flush_type&&);
    flush_type& operator=(flush_type&&);
    result<database_archetype> open(std::string_view name, std::uint32_t page_size) noexcept;
    std::error_code write(const database_archetype& database, std::span<const page_view> sorted,
                          std::uint64_t page_count) noexcept;
  };
  result<flush_type> begin_flush(const history_position& ahead) noexcept;
  std::error_code commit(flush_type flush, const base_position& position) noexcept;
};
struct stage_may_throw : storage_archetype {
  result<stage_archetype> begin_stage();
};
// A page writer without its open().
struct writes_only : moved_only {
  std::error_code write(const database_archetype& database, std::span<const page_view> sorted,
                        std::uint64_t page_count) noexcept;
};
struct flush_without_open : storage_archetype {
  using flush_type = writes_only;
  result<flush_type> begin_flush(const history_position& ahead) noexcept;
  std::error_code commit(flush_type flush, const base_position& position) noexcept;
};
struct flush_open_may_throw : storage_archetype {
  struct flush_type : writes_only {
    result<database_archetype> open(std::string_view name, std::uint32_t page_size);
  };
  result<flush_type> begin_flush(const history_position& ahead) noexcept;
  std::error_code commit(flush_type flush, const base_position& position) noexcept;
};
struct flush_open_without_error : storage_archetype {
  struct flush_type : writes_only {
    database_archetype open(std::string_view name, std::uint32_t page_size) noexcept;
  };
  result<flush_type> begin_flush(const history_position& ahead) noexcept;
  std::error_code commit(flush_type flush, const base_position& position) noexcept;
};
struct stage_without_open : storage_archetype {
  using stage_type = writes_only;
  result<stage_type> begin_stage() noexcept;
  std::error_code publish(stage_type stage, const base_position& position) noexcept;
};
struct publish_may_throw : storage_archetype {
  std::error_code publish(stage_archetype stage, const base_position& position);
};
struct no_publish : storage_archetype {
  std::error_code publish(stage_archetype stage, const base_position& position) noexcept = delete;
};
struct hashes_are_missing : storage_archetype {
  static constexpr storage_abilities abilities{.page_hashes = true};
};
struct hashes_are_not_const : hashing_storage_archetype {
  std::error_code read_hashes(const database_archetype& database, page_number first,
                              std::span<std::uint64_t> into) noexcept;
};
struct hashes_may_throw : hashing_storage_archetype {
  std::error_code read_hashes(const database_archetype& database, page_number first,
                              std::span<std::uint64_t> into) const;
};

}  // namespace near_storage

static_assert(!storage<near_storage::changeable_abilities>);
static_assert(!storage<near_storage::other_abilities>);
static_assert(!storage<near_storage::recover_may_throw>);
static_assert(!storage<near_storage::recover_without_error>);
static_assert(!storage<near_storage::open_may_throw>);
static_assert(!storage<near_storage::open_without_error>);
static_assert(!storage<near_storage::fixed_database>);
static_assert(!storage<near_storage::read_is_not_const>);
static_assert(!storage<near_storage::read_may_throw>);
static_assert(!storage<near_storage::read_says_bool>);
static_assert(!storage<near_storage::read_wants_own_handle>);
static_assert(!storage<near_storage::begin_may_throw>);
static_assert(!storage<near_storage::begin_without_ahead>);
static_assert(!storage<near_storage::begin_without_history>);
static_assert(!storage<near_storage::commit_may_throw>);
static_assert(!storage<near_storage::commit_says_nothing>);
static_assert(!storage<near_storage::write_may_throw>);
static_assert(!storage<near_storage::write_spoils_pages>);
static_assert(!storage<near_storage::flush_move_may_throw>);
static_assert(!storage<near_storage::flush_without_open>);
static_assert(!storage<near_storage::flush_open_may_throw>);
static_assert(!storage<near_storage::flush_open_without_error>);
static_assert(!storage<near_storage::stage_may_throw>);
static_assert(!storage<near_storage::stage_without_open>);
static_assert(!storage<near_storage::publish_may_throw>);
static_assert(!storage<near_storage::no_publish>);
static_assert(!storage<near_storage::hashes_are_missing>);
static_assert(!storage<near_storage::hashes_are_not_const>);
static_assert(!storage<near_storage::hashes_may_throw>);
static_assert(!storage<int>);

}  // namespace quorlite::tests
