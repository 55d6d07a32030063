# SPDX-License-Identifier: MIT OR GPL-2.0-only
# Fuzz targets. With FUZZ=ON (and clang) they are libFuzzer's, and nothing else is tested; otherwise
# they are replayed on their corpora as the tests corpus.NAME.

add_library(fuzz_script STATIC hypercall/fuzz/script.cc)
target_include_directories(fuzz_script PRIVATE hypercall)
target_link_libraries(fuzz_script PUBLIC sim hypercall GTest::gtest)
if(FUZZ)
    add_custom_target(fuzz)
else()
    add_library(fuzz_replay STATIC hypercall/fuzz/replay.cc)
endif()

# proxenos_fuzz(NAME SOURCE library...): a target. Its corpus is the folder corpus/NAME beside it.
function(proxenos_fuzz name source)
    add_executable(fuzz_${name} ${source})
    target_include_directories(fuzz_${name} PRIVATE ${PROJECT_SOURCE_DIR}/drivers
                               ${PROJECT_SOURCE_DIR}/hypercall)
    target_link_libraries(fuzz_${name} PRIVATE ${ARGN} fuzz_script)
    set(corpus ${CMAKE_CURRENT_SOURCE_DIR}/corpus/${name})
    if(FUZZ)
        target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
        add_dependencies(fuzz fuzz_${name})
        file(APPEND ${PROJECT_BINARY_DIR}/targets "${name} ${corpus}\n")
    else()
        target_link_libraries(fuzz_${name} PRIVATE fuzz_replay)
        add_test(NAME corpus.${name} COMMAND fuzz_${name} ${corpus})
        set_tests_properties(corpus.${name} PROPERTIES TIMEOUT 120)
    endif()
endfunction()
