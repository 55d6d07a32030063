// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Fuzz target xenbus: the bus, with a toolstack that writes what the script says, in any order, and
// an xenstored that fails now and then (docs/misc/xenstore-paths, public/io/xenbus.h). At the end a
// device is found, followed and removed, and no other is left.
#include <hypercall/fuzz/script.hpp>
#include <xenbus/test/fake_kernel.hpp>

namespace {

class Bus : public BusTest {
public:
    void TestBody() override {}

    void play(fuzz::Script &script)
    {
        SetUp();
        sim::store::write(sim::guest_home + "/control/shutdown", "");
        ASSERT_EQ(xenbus_core_start_bus(), 0);
        ASSERT_EQ(xenbus_core_start_control(), 0);
        sim::store::filter_replies([&](std::vector<uint8_t> &message) { fail(message); });
        while (script.next_step())
            step(script);
        end();
    }

private:
    void step(fuzz::Script &script)
    {
        switch (script.below(10)) {
        case 0:
        case 1:
            return kernel_.run();
        case 2:
        case 3:
            plug(type(script), id(script), script.below(10), script.below(3));
            break;
        case 4:
            unplug(type(script), id(script), script.below(3));
            break;
        case 5: {
            const std::string device = frontend(type(script), id(script));
            sim::store::write(device + (script.byte() & 1 ? "/backend-id" : "/backend"),
                              script.text());
            break;
        }
        case 6: {
            const std::string device = backend(type(script), id(script), script.below(3));
            static const char *const keys[] = {"/state", "/online", ""};
            const char *key = keys[script.below(3)];
            if (script.byte() & 1)
                sim::store::remove(device + key);
            else
                sim::store::write(device + key, script.text());
            break;
        }
        case 7:
            failures_ = script.below(8);
            error_ = script.below(6);
            break;
        case 8:
            return kernel_trouble(script);
        case 9:
            return control(script);
        }
    }

    static std::string type(fuzz::Script &script)
    {
        static const char *const types[] = {"vbd",     "vif", "vbd", "vif",
                                            "suspend", "Vbd", "",    "averyveryverylongtype"};
        return types[script.below(std::size(types))];
    }

    static std::string id(fuzz::Script &script)
    {
        static const char *const ids[] = {"0",  "1",  "51712", "51713", "4294967295", "4294967296",
                                          "01", "-1", "x",     "",      "1/2",        "1"};
        return ids[script.below(std::size(ids))];
    }

    void kernel_trouble(fuzz::Script &script)
    {
        switch (script.below(5)) {
        case 0:
            kernel_.add_result = script.byte() & 1 ? -12 : 0;
            break;
        case 1:
            kernel_.out_of_memory = script.byte() & 1;
            break;
        case 2:
            kernel_.drivers.clear();
            break;
        case 3:
            kernel_.drivers = {"vbd", "vif"};
            kernel_.bind(script.byte() & 1 ? "vbd-1" : "vif-1");
            break;
        case 4:
            kernel_.scan_kicked = true;
            break;
        }
    }

    void control(fuzz::Script &script)
    {
        const std::string key = script.byte() & 1 ? "/control/shutdown" : "/control/sysrq";
        static const char *const commands[] = {"poweroff", "halt", "reboot", "suspend", "", "h"};
        const uint8_t which = script.below(8);
        sim::store::write(sim::guest_home + key,
                          which < std::size(commands) ? commands[which] : script.text());
        if (script.byte() & 1)
            sim::store::fail_commits(script.below(16));
        char sysrq = 0;
        (void)xenbus_core_take_command(&sysrq);
    }

    // The next replies are errors.
    void fail(std::vector<uint8_t> &message)
    {
        constexpr uint8_t watch_event = 15;
        if (failures_ == 0 || message[0] == watch_event)
            return;
        --failures_;
        static const std::string errors[] = {"ENOENT", "EACCES", "ENOMEM", "EAGAIN", "EIO", "what"};
        make_error(message, errors[error_]);
    }

    void end()
    {
        failures_ = 0;
        sim::store::fail_commits(0);
        kernel_.add_result = 0;
        kernel_.out_of_memory = false;
        kernel_.drivers = {"vbd", "vif"};
        sim::store::remove(sim::guest_home + "/device");
        sim::store::remove("/local/domain/0");
        kernel_.scan_kicked = true;
        kernel_.run();
        EXPECT_EQ(kernel_.present_count(), 0u);
        plug("vbd", "51713");
        kernel_.run();
        ASSERT_EQ(kernel_.present_count(), 1u);
        sim::store::write(backend("vbd", "51713") + "/state", "4");
        kernel_.run();
        EXPECT_EQ(kernel_.present("vbd-51713")->states.back(), 4u);
        TearDown();
    }

    unsigned failures_ = 0;
    unsigned error_ = 0;
};

} // namespace

FUZZ_TARGET(Bus)
