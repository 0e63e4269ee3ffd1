// Passes a type of the library to another unit: modes_taker.cpp.

#include <quorlite/ids.hpp>

void take(quorlite::term given);

int main() { take(quorlite::term{1}); }
