// A program that does nothing: it has the precompiled header made, with the flags of a test.

int main() {}
