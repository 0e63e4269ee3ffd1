#!/bin/sh
# A compiler and pkg-config, no build system.
set -e

# [readme]
${CXX:-c++} -std=c++20 $CXXFLAGS main.cpp $(pkg-config --cflags --libs quorlite) -o app
# [/readme]
