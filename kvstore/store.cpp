#include "kvstore/store.hpp"
