import java.io.FileReader;
import java.util.Properties;
import org.eclipse.dataspacetck.core.system.ConsoleMonitor;
import org.eclipse.dataspacetck.runtime.TckRuntime;

/** Runs every test of the kit with the properties of the file that is named, and ends with 1 when one failed. */
public class RunTck {
    public static void main(String[] arguments) throws Exception {
        var properties = new Properties();
        try (var file = new FileReader(arguments[0])) {
            properties.load(file);
        }
        var kit = TckRuntime.Builder.newInstance()
                .property("dataspacetck.launcher", "org.eclipse.dataspacetck.dsp.system.DspSystemLauncher")
                .addPackage("org.eclipse.dataspacetck.dsp.verification")
                .monitor(new ConsoleMonitor(false, false));
        properties.stringPropertyNames().forEach(name -> kit.property(name, properties.getProperty(name)));
        var summary = kit.build().execute();
        summary.getFailures().forEach(failure ->
                System.out.println("REASON: " + failure.getTestIdentifier().getDisplayName() + " " + failure.getException()));
        System.exit(summary.getTotalFailureCount() == 0 ? 0 : 1);
    }
}
