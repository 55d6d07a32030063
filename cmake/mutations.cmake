# SPDX-License-Identifier: MIT OR GPL-2.0-only
# Broken variants of the cores, to show that the tests notice. mutations/NAME.patch begins with what
# is broken and one or more lines
#   Test: PROGRAM GTEST_FILTER
# and goes on as a unified diff (-p1). Each becomes test programs with the patched files in place of
# the original ones, and the test mutation.NAME, which passes if every such line fails by an
# assertion, a sanitizer or the simulator. A patched source file is compiled alone; with a patched
# header all cores of the program are, but not its tests: it must not change a class's layout.

find_program(PATCH patch REQUIRED)

# Sets `result` to the sources of all cores that are linked into a target, from the project's folder.
function(core_sources result target)
    get_property(cores GLOBAL PROPERTY PROXENOS_CORES)
    set(found)
    if(target IN_LIST cores)
        get_target_property(folder ${target} SOURCE_DIR)
        get_target_property(files ${target} SOURCES)
        foreach(file IN LISTS files)
            get_filename_component(file ${file} ABSOLUTE BASE_DIR ${folder})
            file(RELATIVE_PATH file ${PROJECT_SOURCE_DIR} ${file})
            list(APPEND found ${file})
        endforeach()
    endif()
    get_target_property(libraries ${target} LINK_LIBRARIES)
    foreach(library IN LISTS libraries)
        # These two link each other.
        if(TARGET ${library} AND NOT library STREQUAL sim AND NOT target STREQUAL hypercall)
            core_sources(below ${library})
            list(APPEND found ${below})
        endif()
    endforeach()
    list(REMOVE_DUPLICATES found)
    set(${result} ${found} PARENT_SCOPE)
endfunction()

# Sets `result` to the core sources of a test program that the patch's files change.
function(mutated_sources result program files)
    core_sources(core ${program})
    if(NOT "${files}" MATCHES "\\.hpp")
        set(all ${core})
        set(core)
        foreach(file IN LISTS files)
            if(file IN_LIST all)
                list(APPEND core ${file})
            endif()
        endforeach()
    endif()
    set(${result} ${core} PARENT_SCOPE)
endfunction()

function(add_mutated_program target program tree sources)
    set(mutated)
    set(folders)
    foreach(source IN LISTS sources)
        list(APPEND mutated ${tree}/${source})
        get_filename_component(folder ${PROJECT_SOURCE_DIR}/${source} DIRECTORY)
        list(APPEND folders ${folder})
    endforeach()
    set_source_files_properties(${mutated} PROPERTIES GENERATED ON COMPILE_OPTIONS
                                "-fno-exceptions;-fno-rtti;-Wno-unused;-Wno-unused-parameter")
    # The objects that come before the libraries are the ones that the linker takes.
    add_executable(${target} ${mutated} $<TARGET_OBJECTS:${program}>)
    get_target_property(libraries ${program} LINK_LIBRARIES)
    if(sim IN_LIST libraries) # its <xen/access.hpp> comes first
        target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/sim/include)
    endif()
    target_include_directories(${target} PRIVATE
                               ${tree}/hypercall/include ${tree}/hypercall ${tree}/drivers ${folders})
    target_link_libraries(${target} PRIVATE $<TARGET_PROPERTY:${program},LINK_LIBRARIES>)
    set_target_properties(${target} PROPERTIES EXPORT_COMPILE_COMMANDS OFF)
endfunction()

function(add_mutation patch)
    get_filename_component(name ${patch} NAME_WLE)
    set(tree ${PROJECT_BINARY_DIR}/mutations/${name})
    file(STRINGS ${patch} tests REGEX "^Test: [^ ]+ [^ ]+$")
    file(STRINGS ${patch} files REGEX "^\\+\\+\\+ b/")
    list(TRANSFORM files REPLACE "^\\+\\+\\+ b/([^\t]*).*" "\\1")
    if(NOT tests OR NOT files)
        message(FATAL_ERROR "mutations/${name}.patch: needs a line \"Test: PROGRAM FILTER\" and a diff "
                            "with \"+++ b/PATH\"")
    endif()
    set(sources)
    set(runs)
    foreach(test IN LISTS tests)
        separate_arguments(words UNIX_COMMAND "${test}")
        list(GET words 1 program)
        list(GET words 2 filter)
        if(NOT TARGET ${program})
            message(FATAL_ERROR "mutations/${name}.patch: there is no test program ${program}")
        endif()
        mutated_sources(mine ${program} "${files}")
        if(NOT mine)
            message(FATAL_ERROR "mutations/${name}.patch: ${program} has none of the patched files")
        endif()
        set(target mutation-${name}-${program})
        if(NOT TARGET ${target})
            add_mutated_program(${target} ${program} ${tree} "${mine}")
            list(APPEND sources ${mine})
        endif()
        list(APPEND runs $<TARGET_FILE:${target}> ${filter})
    endforeach()
    list(REMOVE_DUPLICATES sources)
    list(APPEND files ${sources})
    list(TRANSFORM sources PREPEND ${tree}/)
    list(TRANSFORM files PREPEND ${PROJECT_SOURCE_DIR}/)
    add_custom_command(OUTPUT ${sources}
        COMMAND sh ${PROJECT_SOURCE_DIR}/cmake/mutate.sh ${PATCH} ${PROJECT_SOURCE_DIR} ${patch} ${tree}
        DEPENDS ${patch} ${files} ${PROJECT_SOURCE_DIR}/cmake/mutate.sh
        COMMENT "Breaking: ${name}")
    add_test(NAME mutation.${name}
             COMMAND sh ${PROJECT_SOURCE_DIR}/cmake/mutation-test.sh ${runs})
    set_tests_properties(mutation.${name} PROPERTIES TIMEOUT 60)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${patch})
endfunction()

file(GLOB mutations CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/mutations/*.patch)
foreach(patch IN LISTS mutations)
    add_mutation(${patch})
endforeach()
