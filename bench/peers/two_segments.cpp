// 07 without MSG_MORE. The end of its connections is then a segment of its own, like that of nginx.
#include <sys/socket.h>

#undef MSG_MORE
#define MSG_MORE 0 // a flag that asks for nothing

#include "../../07_epoll_edge/main.cpp" // NOLINT(bugprone-suspicious-include)
