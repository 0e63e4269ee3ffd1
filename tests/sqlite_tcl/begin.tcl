# Runs one of SQLite's scripts with the VFS of a replica as the default one.
#
#   testfixture begin.tcl MODULE SCRIPT
#
# A replicated database is no file. So what scripts do with a file of its name is done to the
# database: deleted, copied, measured, read, written. `file rename`, permissions, and the files that
# SQLite keeps beside a database are as they are.

set module [lindex $argv 0]
set argv0 [lindex $argv 1]
set argv [lrange $argv 2 end]

load $module Quorlite

rename file file_of_tcl
proc file {what args} {
  switch -- $what {
    delete {
      foreach name $args {
        if {[string index $name 0] ne "-"} {quorlite drop $name}
      }
    }
    exists - isfile {
      if {[quorlite exists [lindex $args 0]]} {return 1}
    }
    size {
      if {[quorlite exists [lindex $args 0]]} {return [quorlite size [lindex $args 0]]}
    }
    copy {
      if {[quorlite copy {*}[lrange $args end-1 end]]} return
    }
  }
  uplevel 1 [list file_of_tcl $what {*}$args]
}

rename glob glob_of_tcl
proc glob {args} {
  set pattern [lindex $args end]
  set found {}
  foreach name [quorlite names] {
    if {[string match $pattern $name]} {lappend found $name}
  }
  if {[llength $found]} {
    foreach name [glob_of_tcl -nocomplain {*}$args] {
      if {$name ni $found} {lappend found $name}
    }
    return $found
  }
  uplevel 1 [list glob_of_tcl {*}$args]
}

# Who opens a file gets one, with the bytes of the database; who wrote it has made a database when
# it is closed, if SQLite's first words are at its begin.
rename open open_of_tcl
rename close close_of_tcl
proc open {name {mode r} args} {
  set is_ours [quorlite exists $name]
  set writes [expr {$mode ni {r rb RDONLY}}]
  if {$is_ours} {
    file_of_tcl mkdir bytes
    quorlite copy $name bytes/of-a-database
    file_of_tcl rename -force bytes/of-a-database $name
  }
  set channel [uplevel 1 [list open_of_tcl $name $mode {*}$args]]
  if {$writes} {
    set ::written($channel) $name
  } elseif {$is_ours} {
    file_of_tcl delete $name
  }
  return $channel
}
proc close {channel args} {
  if {[info exists ::clients($channel)]} {
    unset ::clients($channel)
    return [interp delete $channel]
  }
  uplevel 1 [list close_of_tcl $channel {*}$args]
  if {[info exists ::written($channel)]} {
    set name $::written($channel)
    unset ::written($channel)
    if {[quorlite take $name]} {file_of_tcl delete $name}
  }
}

rename hexio_write hexio_write_of_testfixture
proc hexio_write {name at bytes} {
  if {[quorlite exists $name]} {return [quorlite write $name $at $bytes]}
  hexio_write_of_testfixture $name $at $bytes
}
rename hexio_read hexio_read_of_testfixture
proc hexio_read {name from amount} {
  if {[quorlite exists $name]} {return [quorlite read $name $from $amount]}
  hexio_read_of_testfixture $name $from $amount
}

# tester.tcl ends SQLite and begins it again before it opens anything, and so do some scripts. Then
# SQLite's own VFS is the default one.
set quorlite_begun 0
rename autoinstall_test_functions autoinstall_of_testfixture
proc autoinstall_test_functions {} {
  set code [autoinstall_of_testfixture]
  if {!$::quorlite_begun} {
    quorlite begin
    set ::quorlite_begun 1
  }
  return $code
}
rename sqlite3 sqlite3_of_testfixture
proc sqlite3 {args} {
  if {$::quorlite_begun} {quorlite default}
  uplevel 1 [list sqlite3_of_testfixture {*}$args]
}

rename md5file md5file_of_testfixture
proc md5file {name args} {
  if {![quorlite exists $name]} {return [md5file_of_testfixture $name {*}$args]}
  file_of_tcl mkdir bytes
  quorlite copy $name bytes/of-a-database
  md5file_of_testfixture bytes/of-a-database {*}$args
}

# Scripts start another testfixture for a second client of a database. It would have a replica of
# its own, so the second client is another interpreter in this process.
rename source source_of_tcl
proc source {args} {
  uplevel 1 [list source_of_tcl {*}$args]
  if {[file_of_tcl tail [lindex $args end]] eq "lock_common.tcl"} {uplevel #0 $::other_clients}
}
set other_clients {
  proc launch_testfixture {args} {
    set client [interp create]
    load_testfixture_extensions $client
    set ::clients($client) 1
    return $client
  }
  proc testfixture {client script {then ""}} {
    set result [interp eval $client $script]
    if {$then eq ""} {return $result}
    after 0 [list uplevel #0 $then [list $result]]
  }
}

rename exit exit_of_tcl
proc exit {{code 0}} {
  puts "quorlite: [quorlite transactions] transactions"
  flush stdout
  exit_of_tcl $code
}

source $argv0
