/// @file
/// One server of a cluster of three over libraft, with its databases in files, for journeys.py: it
/// obeys commands on standard input, one a line, and answers each with a line. What runs between
/// mark() and collect() is counted: two commands, and parts of others. With --mark-start the start
/// is marked, with --measure-start it is collected as well.
///
/// `node ID FOLDER PORT PORT PORT [--found | --mark-start | --measure-start]`: the first server
/// founds the cluster, and is told to take in the others.

#include <sqlite3.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "quorlite/quorlite.hpp"
#include "quorlite/raft/libraft.hpp"
#include "quorlite/storage/file.hpp"

extern "C" {
void __gcov_reset();
void __gcov_dump();
}

namespace {

using storage_type = quorlite::file_storage;

void mark() { __gcov_reset(); }    // from here on everything counts as not run
void collect() { __gcov_dump(); }  // writes down what ran; nothing more does before another mark

quorlite::libraft_options engine_options(const std::vector<std::string>& words) {
  const auto address = [&](std::size_t id) { return "127.0.0.1:" + words[2 + id]; };
  const std::size_t self = std::stoul(words[1]);
  quorlite::libraft_options options{
      .id = quorlite::server_id{self}, .address = address(self), .directory = words[2] + "/raft"};
  options.found = words.back() == "--found";
  options.join = self != 1;  // goes on where it takes part already
  return options;
}

void answer(const std::string& line) { std::cout << line << std::endl; }

class obedient_node {
 public:
  obedient_node(quorlite::replica& replica, quorlite::libraft& raft)
      : replica_(replica), raft_(raft) {}

  /// False: it is time to go.
  bool obey(const std::string& command) {
    if (command == "leading") {
      answer(replica_.leader().leading ? "yes" : "no");
    } else if (command == "member") {
      answer(quorlite::libraft_id_text(raft_.status().id) + ' ' + raft_.options().address);
    } else if (command.starts_with("take in ")) {
      answer(take_in(command.substr(8)).message());
    } else if (command == "position") {
      answer(std::to_string(replica_.applied().index.value));
    } else if (command == "prepare") {  // later inserts find connection, table and pages
      db_ = replica_.open("app.db").value();
      const char* const sql = "CREATE TABLE IF NOT EXISTS note(text); INSERT INTO note VALUES('a')";
      answer(std::to_string(execute(sql)));
    } else if (command == "insert") {
      mark();
      const int code = insert();
      collect();
      answer(std::to_string(code));
    } else if (command == "insert in flight") {
      int code = SQLITE_OK;
      std::thread client([&] { code = insert(); });
      std::this_thread::sleep_for(in_flight_after);
      mark();
      client.join();
      collect();
      answer(std::to_string(code));
    } else if (command == "mark") {
      mark();
      answer("done");
    } else if (command == "collect") {
      collect();
      answer("done");
    } else if (command == "flush") {
      answer(replica_.flush().message());
    } else if (command == "stop") {
      db_ = {};
      answer(replica_.stop().message());
      return false;
    } else {
      answer("unknown command");
    }
    return true;
  }

 private:
  /// Longer than a proposal is on its way to the log and the network, and well below the timeout
  /// after which a leader that hears of nobody gives up.
  static constexpr std::chrono::milliseconds in_flight_after{300};

  /// @param member what another server says to "member"
  std::error_code take_in(const std::string& member) {
    const std::size_t blank = member.find(' ');
    const quorlite::server_id id = quorlite::libraft_id_in(member.substr(0, blank)).value();
    const std::error_code error = raft_.add({id, member.substr(blank + 1)});
    return error ? error : raft_.promote(id);
  }

  int insert() { return execute("INSERT INTO note VALUES('hello')"); }

  int execute(const char* sql) {
    const int code = sqlite3_exec(db_, sql, nullptr, nullptr, nullptr);
    return code == SQLITE_OK ? code : sqlite3_extended_errcode(db_);
  }

  quorlite::replica& replica_;
  quorlite::libraft& raft_;
  quorlite::connection db_;
};

}  // namespace

int main(int count, char** arguments) {
  const std::vector<std::string> words(arguments, arguments + count);
  const bool measure_start = words.back() == "--measure-start";
  const bool mark_start = measure_start || words.back() == "--mark-start";
  const quorlite::libraft_options options = engine_options(words);
  const std::string folder = words[2] + "/databases";
  if (mark_start) {
    mark();
  }
  storage_type storage{folder};
  quorlite::libraft raft{options};
  quorlite::result<quorlite::replica> replica = quorlite::replica::start(raft, storage);
  if (measure_start) {
    collect();
  }
  if (!replica) {
    answer("failed: " + replica.error().message());
    return 1;
  }
  answer("ready");
  obedient_node node(*replica, raft);
  std::string command;
  while (std::getline(std::cin, command) && node.obey(command)) {
  }
  return 0;
}
